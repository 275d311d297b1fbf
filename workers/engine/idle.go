package engine

import (
	"context"
	"math"
	"time"
)

// idleMargin is how far the stream time is behind the clock of the server that has the consumer while nothing
// comes: the clock of the server that stores the messages may be another one, and a replica may be behind.
const idleMargin = 2 * time.Second

// flushIdle flushes by the clock of the server while no message is there.
func (l *lane) flushIdle(ctx context.Context) (*step, bool) {
	if len(l.queue) > 0 || l.working.Load() > 0 || l.pending() {
		return nil, true
	}
	until, known := l.quietUntil()
	if !known || !l.chain.DueAt(until) {
		return nil, true
	}
	select {
	case s := <-l.free:
		s.reset()
		l.working.Add(1)
		ok := l.chain.FlushUntil(ctx, &s.Step, until)
		return s, ok
	default:
		return nil, true
	}
}

// quietUntil is the stream time up to which the lane has received everything, in Unix milliseconds, as the server says (input.look).
func (l *lane) quietUntil() (until int64, known bool) {
	until = math.MaxInt64
	for _, in := range l.inputs {
		in.mu.Lock()
		until = min(until, (in.quiet-int64(idleMargin))/int64(time.Millisecond))
		known = in.quiet > 0
		in.mu.Unlock()
		if !known {
			return 0, false
		}
	}
	return until, true
}

// pending says whether the server has messages that did not come yet.
func (l *lane) pending() bool {
	for _, in := range l.inputs {
		in.mu.Lock()
		n := in.pending
		ok := in.bound
		in.mu.Unlock()
		if n > 0 || !ok {
			return true
		}
	}
	return false
}

// flushFinal has the stages emit everything that they still hold.
func (l *lane) flushFinal(ctx context.Context, r flushRequest) (*step, bool) {
	if !l.chain.Flushes() {
		r.done <- nil
		return nil, true
	}
	var s *step
	select {
	case s = <-l.free:
	case <-ctx.Done():
		return nil, false
	}
	s.reset()
	l.working.Add(1)
	ok := l.chain.FlushFinal(ctx, &s.Step, func(err error) { r.done <- err })
	return s, ok
}
