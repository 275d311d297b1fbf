package chaos

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// TestLedgerSees: what the ledger looks for is done by hand, and it is found.
func TestLedgerSees(t *testing.T) {
	w := begin(t, harness.BuildBinary(t, harness.BuildOptions{}))
	t.Cleanup(func() { end(t, w) })
	for i, c := range []struct {
		name string
		do   func(ctx context.Context, w *world) error
		want tally
	}{
		{name: "nothing"},
		{
			name: "an event that is missing",
			do:   func(ctx context.Context, w *world) error { return w.remove(ctx, "VALIDATED_EVENTS") },
			want: tally{lost: 1},
		},
		{
			name: "a dead letter that is missing",
			do:   func(ctx context.Context, w *world) error { return w.remove(ctx, "DEAD_LETTERS") },
			want: tally{lost: 1},
		},
		{
			name: "a dead letter that is there twice",
			do:   func(ctx context.Context, w *world) error { return w.again(ctx, "DEAD_LETTERS") },
			want: tally{doubled: 1},
		},
		{
			name: "a correlated event that is missing",
			do:   func(ctx context.Context, w *world) error { return w.removeReceived(ctx, "CORRELATED_EVENTS") },
			want: tally{lost: 1},
		},
		{
			name: "an insight that is there twice",
			do:   func(ctx context.Context, w *world) error { return w.again(ctx, "INSIGHTS") },
			want: tally{doubled: 1},
		},
		{
			name: "an event that is there twice",
			do:   func(ctx context.Context, w *world) error { return w.again(ctx, "VALIDATED_EVENTS") },
			want: tally{doubled: 1},
		},
		{
			name: "an event that was stored late, and is enriched twice",
			do: func(ctx context.Context, w *world) error {
				if err := w.again(ctx, "VALIDATED_EVENTS"); err != nil {
					return err
				}
				return w.remove(ctx, "VALIDATED_EVENTS")
			},
			want: tally{doubled: 1, disorder: 1},
		},
	} {
		f := fault{events: 6000, rate: 12000, inject: func(ctx context.Context, w *world) error {
			if c.do == nil {
				return nil
			}
			for w.publish.count() < len(w.ledger.sent) {
				if err := wait(ctx, 10*time.Millisecond); err != nil {
					return err
				}
			}
			if err := w.WaitDrained(ctx); err != nil {
				return err
			}
			return c.do(ctx, w)
		}}
		got, err := w.run(t.Context(), &f, uint64(400+i))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got.lost > 0 != (c.want.lost > 0) || got.doubled > 0 != (c.want.doubled > 0) || got.disorder > 0 != (c.want.disorder > 0) {
			t.Errorf("%s: lost %d, doubled %d, disordered %d: %v", c.name, got.lost, got.doubled, got.disorder, got.problems)
		}
		if slices.ContainsFunc(got.problems, func(p string) bool { return strings.HasPrefix(p, "stuck") }) {
			t.Errorf("%s: %v", c.name, got.problems)
		}
		if got.derived == 0 {
			t.Errorf("%s: nothing that correlate or analyze made was compared", c.name)
		}
	}
}

// firstOf is the first message of the run in a stream, or the last one before it where the run has none: what goes on in an
// open incident makes no new insight.
func (w *world) firstOf(ctx context.Context, stream string) (*jetstream.RawStreamMsg, jetstream.Stream, error) {
	s, err := w.JetStream().Stream(ctx, stream)
	if err != nil {
		return nil, nil, err
	}
	m, err := s.GetMsg(ctx, max(w.ledger.next[stream], 1))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		m, err = s.GetMsg(ctx, s.CachedInfo().State.LastSeq)
	}
	return m, s, err
}

func (w *world) remove(ctx context.Context, stream string) error {
	m, s, err := w.firstOf(ctx, stream)
	if err != nil {
		return err
	}
	return s.DeleteMsg(ctx, m.Sequence)
}

// removeReceived removes the first message of the run that holds an event of the input. Groups may be made by the clock alone,
// after all input: the ledger waits for none of these.
func (w *world) removeReceived(ctx context.Context, stream string) error {
	m, s, err := w.firstOf(ctx, stream)
	for decoder := decode.New(decode.Limits{}); err == nil; m, err = s.GetMsg(ctx, m.Sequence+1) {
		decoder.Reset()
		events, _ := decoder.Decode(nil, decode.Message{Header: m.Header, Data: m.Data, Sequence: m.Sequence})
		if slices.ContainsFunc(events, func(e event.Event) bool { return !strings.HasPrefix(e.Type, "millrace.") }) {
			return s.DeleteMsg(ctx, m.Sequence)
		}
	}
	return err
}

// again stores the first message of the run in a stream once more.
func (w *world) again(ctx context.Context, stream string) error {
	m, _, err := w.firstOf(ctx, stream)
	if err != nil {
		return err
	}
	return again(ctx, w.JetStream(), m)
}

// again stores a message once more.
func again(ctx context.Context, js jetstream.JetStream, m *jetstream.RawStreamMsg) error {
	copied := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	for key, values := range m.Header {
		if key != "Nats-Expected-Last-Subject-Sequence" && key != "Nats-Expected-Last-Subject-Sequence-Subject" &&
			key != "Nats-Batch-Id" && key != "Nats-Batch-Sequence" && key != "Nats-Batch-Commit" && key != nats.MsgIdHdr {
			copied.Header[key] = values
		}
	}
	_, err := js.PublishMsg(ctx, copied)
	return err
}
