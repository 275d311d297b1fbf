package engine

import (
	"context"
	"strings"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// A step is full when it holds this much.
const (
	maxStepEvents = 8192
	maxStepBytes  = 4 << 20
)

// newDecoders makes the decoders of one message in hand, by input.
func (l *lane) newDecoders() []*event.Decoder {
	made, all := map[bool]*event.Decoder{}, make([]*event.Decoder, len(l.e.cfg.Inputs))
	for i, in := range l.e.cfg.Inputs {
		own := framed(in.From)
		if made[own] == nil {
			made[own] = event.NewDecoder(event.Limits{Hints: own, Lift: !own})
			made[own].Remember(l.contexts)
		}
		all[i] = made[own]
	}
	return all
}

// framed says whether a stage writes the frames that a port holds: then their hints may be believed, and events
// may have grown over the limit of the ingress. Dead letters, and events that no CloudEvent can hold, leave as they
// came, with the hints of whoever published them.
func framed(from string) bool {
	_, port, ok := strings.Cut(from, "/")
	return ok && config.PortFormat(port) == config.FormatFrame
}

// putWriter gives a writer back. One that held an unusually large event is not kept.
func (l *lane) putWriter(w *event.FrameWriter) {
	if w.Size() <= maxStepBytes {
		l.writers.Put(w)
	}
}

// fill makes steps of what arrives, until the lane is stopped.
func (l *lane) fill(ctx context.Context, out chan<- *step) {
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
		case m := <-l.source:
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
func (l *lane) fillUp(ctx context.Context, s *step, out chan<- *step) bool {
	var linger <-chan time.Time
	lingers := l.e.limits.linger > 0
	for !l.full(s) {
		select {
		case m := <-l.source:
			s.add(m)
			continue
		default:
		}
		// Frames are full already, or as full as the stage before could make them.
		if lingers && s.frames == 0 {
			if linger == nil {
				linger = time.After(l.e.limits.linger)
			}
			select {
			case m := <-l.source:
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
		case m := <-l.source:
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

func (l *lane) full(s *step) bool {
	limit := l.e.limits.maxEvents
	if l.e.cfg.Lanes == 1 { // it is spread over the partitions
		limit = min(limit*l.e.cfg.Partitions, max(maxStepEvents, limit))
	}
	return s.events >= limit || s.bytes >= maxStepBytes
}
