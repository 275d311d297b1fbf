package engine

import (
	"context"
	"math"
	"time"
)

// idleMargin is how many seconds the stream time is behind the clock of the server that has the consumer while nothing
// comes: the clock of the server that stores the messages may be another one, and a replica may be behind.
const idleMargin = 2

// flushIdle flushes by the clock of the server while no message is there.
func (l *lane) flushIdle(ctx context.Context) (*step, bool) {
	if len(l.queue) > 0 || l.working.Load() > 0 || l.pending() {
		return nil, true
	}
	second, known := l.quietUntil()
	if !known || !l.chain.DueAt(second) {
		return nil, true
	}
	select {
	case s := <-l.free:
		s.reset()
		l.working.Add(1)
		ok := l.chain.FlushUntil(ctx, &s.Step, second)
		return s, ok
	default:
		return nil, true
	}
}

// quietUntil is the second of stream time up to which the lane has received everything, as the server says (input.look).
func (l *lane) quietUntil() (second int64, known bool) {
	second = math.MaxInt64
	for _, in := range l.inputs {
		in.mu.Lock()
		second = min(second, in.quiet/int64(time.Second)-idleMargin)
		known = in.quiet > 0
		in.mu.Unlock()
		if !known {
			return 0, false
		}
	}
	return second, true
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
