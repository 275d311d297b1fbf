package lane

import (
	"context"
	"math"
	"time"

	"millrace.dev/millrace/workers/engine/source"
)

// flushIdle flushes by the clock of the server while no message is there.
func (l *session) flushIdle(ctx context.Context) (*step, bool) {
	if len(l.received) > 0 || l.working.Load() > 0 || l.pending() {
		return nil, true
	}
	until, known := l.quietUntil()
	if !known || !l.chain.DueAt(until) {
		return nil, true
	}
	s := l.spare()
	if s == nil {
		return nil, true
	}
	return s, l.chain.FlushUntil(ctx, &s.Step, until)
}

// spare is a step for what is made while nothing comes; nil = all are at work.
func (l *session) spare() *step {
	select {
	case s := <-l.free:
		s.reset()
		l.working.Add(1)
		return s
	default:
		return nil
	}
}

// quietUntil is the stream time up to which the lane has received everything, in Unix milliseconds, as the server says (source.Input).
func (l *session) quietUntil() (until int64, known bool) {
	until = math.MaxInt64
	for _, in := range l.sources {
		quiet := in.State().Quiet
		if quiet <= 0 {
			return 0, false
		}
		if l.w.StreamTime != nil {
			quiet = l.w.StreamTime(time.Unix(0, quiet)).UnixNano()
		}
		until = min(until, (quiet-int64(source.Margin))/int64(time.Millisecond))
	}
	return until, true
}

// pending says whether the server has messages that did not come yet.
func (l *session) pending() bool {
	for _, in := range l.sources {
		if s := in.State(); s.Pending > 0 || !s.Bound {
			return true
		}
	}
	return false
}

// flushAsked flushes the stages as somebody asks for, and has the outputs say how far the lane is.
func (l *session) flushAsked(ctx context.Context, r flushRequest) (*step, bool) {
	if !l.chain.Flushes() && l.teller == nil {
		r.done <- flushed{}
		return nil, true
	}
	var s *step
	select {
	case s = <-l.free:
	case <-ctx.Done():
		return nil, false
	}
	s.reset()
	s.tellsAll = true
	l.working.Add(1)
	if r.final {
		return s, l.chain.FlushFinal(ctx, &s.Step, func(err error) { r.done <- flushed{err: err} })
	}
	return s, l.chain.FlushQuiet(ctx, &s.Step, r.until, func(made bool) { r.done <- flushed{made: made} })
}
