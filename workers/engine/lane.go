package engine

import (
	"context"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// A group of loose messages takes up to MaxEvents events per partition, bounded by these.
const (
	maxGroupEvents = 8192
	maxGroupBytes  = 4 << 20
)

// lane is one goroutine that works on messages.
type lane struct {
	e     *Engine
	index int
	g     *group
	batch stage.Batch
	// picked holds events that are processed again, side by side.
	picked []event.Event
	router
	// busySince is when the call of the stage that goes on now began, in Unix nanoseconds; 0 =
	// there is none.
	busySince atomic.Int64
}

func newLane(e *Engine, index int) *lane {
	l := &lane{e: e, index: index, g: newGroup()}
	l.router = newRouter(e)
	return l
}

// run works until stop ends and the group in hand is finished. What it does in that group
// ends early with work.
func (l *lane) run(stop, work context.Context) {
	flush := l.flushTick()
	defer flush.Stop()
	for stop.Err() == nil {
		select {
		case <-stop.Done():
		case m := <-l.e.queue:
			l.gather(m)
			l.handle(work, stop)
		case r := <-l.e.parked.due:
			l.retryNow(work, stop, r)
		case <-flush.C:
			_ = l.flush(work, false) // logged there; the stage tries again at the next tick
		case r := <-l.requests():
			r.done <- l.flush(work, r.final)
		}
	}
	l.finishRetries(work, stop)
}

// finishRetries tries what is parked one last time.
func (l *lane) finishRetries(work, stop context.Context) {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for !l.e.parked.empty() {
		select {
		case r := <-l.e.parked.due:
			l.retryNow(work, stop, r)
		case <-tick.C:
		case <-work.Done():
			return
		}
	}
}

// gather decodes m and what else has arrived into the group.
func (l *lane) gather(m *message) {
	l.g.reset()
	l.g.add(m)
	var linger *time.Timer
	for !l.full() {
		select {
		case m := <-l.e.queue:
			l.g.add(m)
			continue
		default:
		}
		// Frames are full already, or as full as the stage before could make them.
		if l.g.frames > 0 || l.e.limits.linger <= 0 {
			return
		}
		if linger == nil {
			linger = time.NewTimer(l.e.limits.linger)
			defer linger.Stop()
		}
		select {
		case m := <-l.e.queue:
			l.g.add(m)
		case <-linger.C:
			return
		}
	}
}

func (l *lane) full() bool {
	limit := l.e.limits.maxEvents
	if l.g.frames == 0 {
		limit = min(limit*l.e.cfg.Partitions, max(maxGroupEvents, limit))
	}
	return len(l.g.events) >= limit || l.g.bytes >= maxGroupBytes
}

// handle takes the group through the stage and publishes what comes out.
func (l *lane) handle(work, stop context.Context) {
	g := l.g
	l.process(work, g)
	left, ok := l.undecided(work, stop, g)
	if !ok || work.Err() != nil {
		return // its messages are given back
	}
	if len(left) > 0 {
		g.hold(left)
		l.g = newGroup() // g lives on until the retries are over
	}
	l.route(work, g)
	if len(left) > 0 {
		l.parkRetry(&retry{g: g, indices: left, attempt: 2})
	}
}
