package replay

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view"
)

// input is what of an input is stored between the bounds.
type input struct {
	From   string `json:"from"`
	Stream string `json:"stream"`
	// Messages is their number, Bytes about their size.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// Oldest is when the oldest message of the stream was stored; zero = it holds none.
	Oldest time.Time `json:"oldest,omitzero"`
}

// count asks NATS how much the inputs of a stage hold between the bounds.
func count(ctx context.Context, nats *jetstream.Client, s *view.StageLayout, b bounds) ([]input, error) {
	var all []input
	for _, in := range s.Inputs {
		if in.Overflow {
			continue // that of the stage itself, which its replay does not read
		}
		if in.Stream == "" {
			return nil, fmt.Errorf("stage %s takes the events of %s in memory: nothing is stored that it could process again", s.Name, in.From)
		}
		stream, err := nats.Stream(in.Stream)
		if err != nil {
			return nil, err
		}
		state := stream.State
		counted := input{From: in.From, Stream: in.Stream}
		if state.Msgs > 0 {
			counted.Oldest = state.FirstTime.UTC()
		}
		for _, c := range in.Consumers {
			n, err := between(ctx, nats, in.Stream, c.Filter, b)
			if err != nil {
				return nil, err
			}
			counted.Messages += n
		}
		if state.Msgs > 0 {
			counted.Bytes = uint64(float64(state.Bytes) / float64(state.Msgs) * float64(counted.Messages))
		}
		all = append(all, counted)
	}
	return all, nil
}

// between is how many messages a stream holds on a subject between the bounds.
func between(ctx context.Context, nats *jetstream.Client, stream, subject string, b bounds) (uint64, error) {
	n, err := since(ctx, nats, stream, subject, b.from)
	if err != nil || b.to.IsZero() {
		return n, err
	}
	behind, err := since(ctx, nats, stream, subject, b.to)
	return n - min(n, behind), err
}

func since(ctx context.Context, nats *jetstream.Client, stream, subject string, at time.Time) (n uint64, err error) {
	more, err := nats.Direct(ctx, stream, jetstream.Direct{Since: &at, Subject: subject, Batch: 1}, func(*jetstream.Message) error {
		n++
		return nil
	})
	return n + more, err
}
