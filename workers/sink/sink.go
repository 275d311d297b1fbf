package sink

import (
	"context"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// Target is where a sink keeps events. Place and Store are those of stage.Sink.
type Target interface {
	// Open makes the target ready to be called. It does not wait for the other side: that may be away for long.
	Open(ctx context.Context) error
	// Row is what Store is given of an event; nothing of it is memory of the event. An error says why there is none, whatever the other side
	// says, and reason is the one of the dead letter. Calls may come at the same time.
	Row(e *event.Event) (row any, reason string, err error)
	Place(ctx context.Context, lane string) (string, error)
	Store(ctx context.Context, lane string, rows []any, from, to string) error
	// Close releases what Open and the calls since took.
	Close()
}

// keeper is the stage of a target.
type keeper struct{ Target }

// Start opens the target.
func (k *keeper) Start(ctx context.Context) error { return k.Open(ctx) }

// Shutdown closes the target.
func (k *keeper) Shutdown(context.Context) error {
	k.Close()
	return nil
}

// Process makes the rows of b.
func (k *keeper) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		row, reason, err := k.Row(&b.Events[i])
		if err != nil {
			b.DeadLetter(i, reason, err)
			continue
		}
		b.Keep(i, row)
	}
	return nil
}
