package track

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
)

const (
	publishBackoff    = 100 * time.Millisecond
	publishMaxBackoff = 5 * time.Second
	publishTick       = 50 * time.Millisecond
	// maxBatch is how many messages one atomic batch holds at most; the server allows 1000.
	maxBatch = 500
)

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

// attempts numbers publishes, so that answers to ones that were given up are told apart.
func (l *Log) nextAttempt() uint64 {
	l.attempts++
	return l.attempts
}

// send publishes the next output of q, or, where they are single events, the next ones as an
// atomic batch: all or none of them are stored.
func (l *Log) send(i int, q *queue) {
	q.attempt, q.failed = l.nextAttempt(), false
	q.due = l.now().Add(l.ackTimeout << min(q.failures, 3)).UnixNano()
	rest := q.records[q.next:]
	q.sent = 1
	if !l.conn.IsConnected() {
		l.delay(q, "not connected to NATS")
		return
	}
	if q.track.Single && !q.track.noBatch {
		q.sent = min(len(rest), maxBatch)
	}
	reply := l.inbox + "." + strconv.Itoa(i) + "." + strconv.FormatUint(q.attempt, 10)
	id := ""
	if q.sent > 1 {
		id = rand.Text()
	}
	for k := range rest[:q.sent] {
		o := &rest[k]
		h := o.Message.Header
		for _, name := range [...]string{headerBatchID, headerBatchSeq, headerBatchEnd, headerExpected, headerExpectedS} {
			delete(h, name)
		}
		if k == 0 {
			h[headerExpected] = []string{strconv.FormatUint(q.track.Fence, 10)}
			if q.track.Last != o.Message.Subject {
				h[headerExpectedS] = []string{q.track.Last}
			}
		}
		if id != "" {
			h[headerBatchID], h[headerBatchSeq] = []string{id}, []string{strconv.Itoa(k + 1)}
		}
		o.Message.Reply = ""
		if k == q.sent-1 {
			o.Message.Reply = reply
			if id != "" {
				h[headerBatchEnd] = []string{"1"}
			}
		}
		if err := l.conn.PublishMsg(&o.Message); err != nil {
			l.delay(q, err.Error())
			return
		}
	}
}

// delay has q sent again later, because of reason.
func (l *Log) delay(q *queue, reason string) {
	wait := backoff.Wait(publishBackoff, publishMaxBackoff, q.failures, l.jitter())
	q.failures++
	q.failed = true
	q.due = l.now().Add(wait).UnixNano()
	l.problems.set(l, q.track, reason)
}
