package lane

import (
	"context"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/progress"
)

// prime has the stages know how far the inputs are (progress.Mark) behind a sequence of each, where the replay begins, or else the lane
// goes on: what the worker before knew is not to be decided anew, and what it has not passed on is told.
func (l *session) prime(ctx context.Context, behind func(input int) uint64) error {
	for _, t := range l.tracks {
		l.chain.Told(t.Mark)
	}
	for i, in := range l.sources {
		for writer, subject := range l.chain.Writers(i, in.FilterSubject()) {
			until, err := in.Watermark(ctx, subject, behind(i), said)
			if err != nil {
				return err
			}
			l.chain.Wrote(i, writer, until)
		}
	}
	if !l.chain.Prime(ctx) {
		return errStopped
	}
	return nil
}

// said is what a message says of the ingress.
func said(h nats.Header) (before, after int64) {
	m, _ := progress.ParseMark(h.Get(progress.HeaderWatermark))
	return m.Before, m.After()
}
