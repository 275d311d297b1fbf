package lane

import (
	"context"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/source"
)

// A lane of a stage with an overflow sends events there while the stage cannot ask about them; another lane replays them. Both are under one lease, so
// one worker has them, and its breaker. They store for themselves; what they have in common is the backlog (package overflow).

// beginOverflow says where the lane, or the replay, begins.
func (l *session) beginOverflow(floors []uint64) {
	switch {
	case l.overflow == nil:
	case l.replays:
		l.overflow.Restarted(floors[0])
	default:
		l.overflow.Begin(l.reachesAside())
	}
}

// reachesAside is the stream sequence of the last message that the lane has stored in the overflow; 0 = it has stored none.
func (l *session) reachesAside() (last uint64) {
	for _, t := range l.tracks {
		if t.Node == 0 && t.Ports[t.Port] == config.PortOverflow {
			last = max(last, t.Fence)
		}
	}
	return last
}

// takeAside takes the outputs for the overflow out of s: they are stored when all else of it is. So what is replayed is behind all of its key that did not
// go there, also when the worker dies in between.
func (l *session) takeAside(s *step) (aside []*chain.Pending) {
	if s.Overflow == 0 {
		return nil
	}
	rest := make([]*chain.Pending, 0, len(s.Pending))
	for _, p := range s.Pending {
		if p.Outlet.Node.Index == 0 && p.Outlet.Port.Name == config.PortOverflow {
			aside = append(aside, p)
		} else {
			rest = append(rest, p)
		}
	}
	s.Pending = rest
	return aside
}

// storedAside notes what of s is in the overflow now, or replayed.
func (l *session) storedAside(s *step) {
	switch {
	case l.overflow == nil:
	case !l.replays:
		if s.Overflow != 0 {
			l.overflow.Stored(s.Overflow, l.reachesAside())
		}
	case len(s.messages) > 0:
		l.overflow.Replayed(s.messages[len(s.messages)-1].Sequence)
	}
}

// watchEmpty looks whether the overflow is empty, until ctx ends: what has gone by age is never replayed.
func (l *session) watchEmpty(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if at := l.sources[0].State().Empty; at > 0 {
				l.overflow.Empty(time.Unix(0, at-int64(source.Margin)))
			}
		case <-ctx.Done():
			return
		}
	}
}

// catchUpTick is how often a lane looks that waits for its replay.
const catchUpTick = time.Millisecond

// catchUp waits for the replay where that has nearly caught up. It returns false when ctx has ended.
func (l *session) catchUp(ctx context.Context) bool {
	if l.overflow == nil || l.replays {
		return true
	}
	wait := l.overflow.Patience()
	if wait == 0 {
		return true
	}
	until := time.NewTimer(wait)
	defer until.Stop()
	if !l.chain.Settle(ctx) { // what it has decided about may be on its way there
		return false
	}
	tick := time.NewTicker(catchUpTick)
	defer tick.Stop()
	for !l.overflow.Clear() {
		select {
		case <-tick.C:
		case <-until.C:
			l.overflow.InVain()
			return true
		case <-l.stopping:
			return true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// pacedStep is how many seconds' worth of events a step of a paced replay has, about: it cannot have less than a message.
const pacedStep = 0.1

// rate is how many events a second the lane may replay; 0 = as many as it can.
func (l *session) rate() float64 {
	if !l.replays {
		return 0
	}
	return float64(l.w.Config.Breaker.ReplayRate) / float64(l.w.Config.Lanes)
}

// pace has a replay wait until it is the turn of s. It returns false when the lane ends meanwhile.
func (l *session) pace(ctx context.Context, s *step) bool {
	rate := l.rate()
	if rate == 0 {
		return true
	}
	now := l.w.Now()
	wait := l.turn.Sub(now)
	if wait < 0 {
		wait, l.turn = 0, now
	}
	l.turn = l.turn.Add(time.Duration(float64(s.events) / rate * float64(time.Second)))
	if wait == 0 {
		return true
	}
	l.paces.Store(true)
	defer l.paces.Store(false)
	return l.pause(ctx, wait)
}
