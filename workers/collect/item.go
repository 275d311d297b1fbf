package collect

import (
	"context"
	"errors"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// Item is what a source hands to the publisher: events, or a checkpoint.
type Item struct {
	// Events belong together: they are published in one frame, or dropped together.
	Events []*eventv1.Event
	// Checkpoint is what the source knew after all items before this one. It is written when the stream has
	// acknowledged these. Only a publisher with a Store takes one.
	Checkpoint *Checkpoint

	// stored is told, once, that the stream has acknowledged Events, or why NATS never takes them; nil = nobody waits.
	stored chan<- error
}

// report tells who waits what became of the events.
func (i Item) report(err error) {
	if i.stored != nil {
		i.stored <- err // there is room: it is told once
	}
}

// ErrEnded says that the publisher ended before the stream acknowledged the events. It may have stored them.
var ErrEnded = errors.New("the collector ends")

// Queue is what waits to be published. Its length is bounded: whoever puts an item on a full queue waits.
type Queue struct {
	// In takes items, in the order in which they are published.
	In chan<- Item
	// Ended is closed when the publisher has ended: nobody reads In any more.
	Ended <-chan struct{}
}

// Store puts events on the queue and waits until the stream has acknowledged them. It returns a RefusedError
// when NATS never takes them, ErrEnded when the collector ends first, and the cause of ctx when that does: then the
// events may be stored all the same.
func (q Queue) Store(ctx context.Context, events []*eventv1.Event) error {
	if len(events) == 0 {
		return nil
	}
	stored := make(chan error, 1)
	select {
	case q.In <- Item{Events: events, stored: stored}:
	case <-q.Ended:
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-stored:
		return err
	case <-q.Ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-stored: // it was the last one
		return err
	default:
		return ErrEnded
	}
}
