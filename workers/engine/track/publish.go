package track

import (
	"context"
	"time"
)

// publishTick is how often publishes without an answer are looked after.
const publishTick = 50 * time.Millisecond

// Store appends what is in a, to every track one after another, and waits for the PubAcks. complete makes the messages of the
// records that were added for a track as number i; it is called just before they are sent. Store tries for ever: a full
// stream or a lost connection delays. The error says that the lane is lost, or that somebody
// else has written; or it is that of ctx.
func (l *Log) Store(ctx context.Context, a *Append, complete func(i int, records []Record)) error {
	if len(a.queues) == 0 {
		return ctx.Err()
	}
	left := len(a.queues)
	for i := range a.queues {
		q := &a.queues[i]
		complete(i, q.records)
		l.headers(a, q)
		l.metrics.Inflight.Add(float64(len(q.records)))
		l.send(i, q)
	}
	defer func() {
		for i := range a.queues {
			q := &a.queues[i]
			l.metrics.Inflight.Sub(float64(len(q.records)))
		}
	}()
	tick := time.NewTicker(publishTick)
	defer tick.Stop()
	reconnected := l.reconnects()
	for left > 0 {
		select {
		case answer := <-l.answers:
			if answer.queue >= len(a.queues) || a.queues[answer.queue].attempt != answer.attempt {
				continue // of a publish that was given up
			}
			done, err := l.answered(ctx, answer.queue, &a.queues[answer.queue], answer.ack)
			if err != nil {
				return err
			}
			if done {
				left--
			}
		case <-reconnected: // nothing is known about what was under way
			reconnected = l.reconnects()
			for i := range a.queues {
				a.queues[i].due = 0
			}
		case <-tick.C:
			n, err := l.overdue(ctx, a)
			if err != nil {
				return err
			}
			left -= n
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
