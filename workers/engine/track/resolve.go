package track

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/stored"
)

// answered handles the answer to the publish of q that is under way; done says that all of q is stored.
func (l *Log) answered(ctx context.Context, i int, q *queue, ack pubAck) (done bool, err error) {
	switch {
	case ack.problem == "":
		return l.stored(i, q, ack.Sequence), nil
	case stored.IsFenced(ack.code):
		return l.resolve(ctx, i, q)
	case ack.code == codeNoBatches && q.sent > 1:
		q.track.noBatch = true
		l.send(i, q)
		return false, nil
	case ack.full && (q.track.Drop || q.saysOnly()):
		for _, o := range q.records[q.next : q.next+q.sent] {
			q.dropped += o.Events
		}
		q.silent = q.dropped == 0
		if !l.problems.is(q.track, ack.problem) { // else others wait for it to end
			l.problems.set(l.log, q.track, "")
		}
		return l.next(i, q), nil
	default:
		l.delay(q, ack.problem)
		return false, nil
	}
}

// saysOnly says whether the record under way has no events: it is there for its headers, so nothing is lost without it, and a lane that has nothing
// else to store does not wait for room.
func (q *queue) saysOnly() bool { return len(q.records) == 1 && q.records[0].Events == 0 }

// stored notes that what was sent of q is stored, the last of it as sequence, and sends what is next.
func (l *Log) stored(i int, q *queue, sequence uint64) (done bool) {
	q.track.Fence = sequence
	l.problems.set(l.log, q.track, "")
	return l.next(i, q)
}

// next is done with what was sent of q, and sends what is next.
func (l *Log) next(i int, q *queue) (done bool) {
	for i := range q.records[q.next : q.next+q.sent] {
		o := &q.records[q.next+i]
		if o.Buffer != nil {
			l.buffers.Put(o.Buffer)
			o.Buffer = nil
		}
	}
	q.next += q.sent
	q.failures = 0
	if q.next < len(q.records) {
		l.send(i, q)
		return false
	}
	q.attempt = 0
	return true
}

// overdue looks after publishes without an answer, and repeats those that were refused. It returns how many queues
// it found stored.
func (l *Log) overdue(ctx context.Context, a *Append) (stored int, err error) {
	now := l.now().UnixNano()
	for i := range a.queues {
		q := &a.queues[i]
		if q.attempt == 0 || now < q.due {
			continue
		}
		l.metrics.Republished.Inc()
		if q.failed {
			l.send(i, q)
			continue
		}
		done, err := l.resolve(ctx, i, q)
		if err != nil {
			return stored, err
		}
		if done {
			stored++
		}
	}
	return stored, nil
}

// resolve finds out what became of the publish of q that is under way: nobody has answered, or
// the server says that another message is the last one.
func (l *Log) resolve(ctx context.Context, i int, q *queue) (done bool, err error) {
	look, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := q.track
	last, err := l.messages.Last(look, t.Stream, t.Last)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		l.delay(q, err.Error())
		return false, nil
	}
	sent := q.records[q.next+q.sent-1]
	of := progress.ParseOutput(last.Header.Get(headerStep), l.places, t.Ports)
	switch {
	case last.Header.Get(headerOwner) == l.owner && of != nil && of.Number == sent.number:
		l.metrics.ConfirmedLate.Inc()
		return l.stored(i, q, last.Sequence), nil
	case last.Sequence == t.Fence || last.Header.Get(headerOwner) == l.owner: // not stored
		t.Fence = last.Sequence
		l.send(i, q)
		return false, nil
	}
	owns, err := l.owns(ctx)
	switch {
	case err != nil:
		l.delay(q, err.Error())
		return false, nil
	case !owns:
		return false, fmt.Errorf("%w: %s has written to %s", progress.ErrLost, last.Header.Get(headerOwner), t.Last)
	case last.Sequence < t.Fence: // what stood there before was deleted: by age, or by a person
		t.Fence = last.Sequence
		l.send(i, q)
		return false, nil
	}
	return false, fmt.Errorf("%w: %q to %s", progress.ErrDoubt, last.Header.Get(headerOwner), t.Last)
}
