package lane

import (
	"context"
	"time"
)

// A step is full when it holds this much.
const (
	maxStepEvents = 8192
	maxStepBytes  = 4 << 20
)

// fill makes steps of what arrives, until the lane is stopped.
func (l *session) fill(ctx context.Context, out chan<- *step) {
	for {
		var s *step
		select {
		case s = <-l.free:
		case <-l.stopping:
			return
		case <-ctx.Done():
			return
		}
		s.reset()
		select {
		case m := <-l.ordered:
			l.working.Add(1)
			s.add(m)
		case <-l.stopping:
			return
		case <-ctx.Done():
			return
		}
		if !l.fillUp(ctx, s, out) {
			return
		}
	}
}

// fillUp adds what else has arrived to s until the next goroutine takes it.
func (l *session) fillUp(ctx context.Context, s *step, out chan<- *step) bool {
	var linger <-chan time.Time
	lingers := l.w.Limits.Linger > 0
	for !l.full(s) {
		select {
		case m := <-l.ordered:
			s.add(m)
			continue
		default:
		}
		// Frames are full already, or as full as the stage before could make them.
		if lingers && s.Frames == 0 {
			if linger == nil {
				linger = time.After(l.w.Limits.Linger)
			}
			select {
			case m := <-l.ordered:
				s.add(m)
			case <-linger:
				lingers = false
			case <-l.stopping:
				lingers = false
			case <-ctx.Done():
				return false
			}
			continue
		}
		select {
		case out <- s:
			return true
		case m := <-l.ordered:
			s.add(m)
		case <-ctx.Done():
			return false
		}
	}
	select {
	case out <- s:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *session) full(s *step) bool {
	limit := l.w.Limits.MaxEvents
	if rate := l.rate(); rate > 0 {
		return s.events >= int(max(rate*pacedStep, 1)) || s.bytes >= maxStepBytes
	}
	if l.w.Limits.spreads { // what it holds is cut into a frame for each partition
		limit = min(limit*l.w.Config.Partitions, max(maxStepEvents, limit))
	}
	return s.events >= limit || s.bytes >= maxStepBytes
}
