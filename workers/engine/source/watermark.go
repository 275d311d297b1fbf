package source

import (
	"context"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
)

// Said reads of the headers of a message how far its writer said that it was, before the message and with it, in Unix nanoseconds of the ingress.
type Said func(nats.Header) (before, after int64)

// Watermark is how far the writer of a subject of the input said that it was behind the message with a sequence: what the last message of the
// subject up to there says, or what the next one says of it. At the ingress it is the time of that message, or a moment before the next one.
func (in *Input) Watermark(ctx context.Context, subject string, seq uint64, said Said) (int64, error) {
	if seq == 0 {
		return 0, nil
	}
	if in.Config.From == config.Ingress {
		return in.ingressTime(ctx, subject, seq)
	}
	// The last one first: asked for second, it may be one that came in between, and says what is behind messages that nobody has taken.
	last, err := in.leader(ctx, map[string]any{"last_by_subj": subject})
	if err != nil || last.Sequence == 0 {
		return 0, err
	}
	if last.Sequence <= seq {
		_, after := said(last.Header)
		return after, nil
	}
	next, err := in.leader(ctx, map[string]any{"seq": seq + 1, "next_by_subj": subject})
	if err != nil || next.Sequence == 0 { // it was deleted since
		return 0, err
	}
	before, _ := said(next.Header)
	return before, nil
}

func (in *Input) ingressTime(ctx context.Context, subject string, seq uint64) (int64, error) {
	m, err := in.leader(ctx, map[string]any{"seq": seq, "next_by_subj": subject})
	if err != nil {
		return 0, err
	}
	if m.Sequence > seq {
		return in.timeOf(m.Time) - 1, nil
	}
	if m.Sequence == 0 { // what stood there is deleted, and nothing has come since
		if m, err = in.leader(ctx, map[string]any{"last_by_subj": subject}); err != nil || m.Sequence == 0 || m.Sequence > seq {
			return 0, err
		}
	}
	return in.timeOf(m.Time), nil
}

// FilterSubject is the subject of the messages of the lane.
func (in *Input) FilterSubject() string { return in.filter }
