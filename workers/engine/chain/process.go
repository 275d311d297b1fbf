package chain

import (
	"context"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// scratch is the memory of one node in one lane.
type scratch struct {
	batch     stage.Batch
	now       time.Time // of the events
	partition int       // of their message
	late      int64     // events that came too late
	decisions []stage.Decision
	tried     []int // attempts, where there was more than one
	made      []event.Event
	copies    copies // where no memory has them (Chain.copies)
	picked    []event.Event
	produced  []stage.Produced
}

// node takes events through one stage and what is chained to it.
func (c *Chain) node(ctx context.Context, cur *cursor, n *Node, events []event.Event) bool {
	sr := &c.scratch[n.Index]
	sr.decisions = grow(sr.decisions, len(events))
	sr.tried, sr.made, sr.picked = emptied(sr.tried), emptied(sr.made), emptied(sr.picked)
	sr.produced, sr.now, sr.partition, sr.late = emptied(sr.produced), cur.now, cur.partition, 0
	cur.s.Tallies[n.Index].Events += int64(len(events))
	if cur.s.Trace != nil {
		cur.s.Trace.Enter(n, events)
	}
	size := n.Limits.MaxEvents
	if n.Stateful && len(events) > 0 && c.suspects.isAlone(&events[0]) {
		size = 1
	}
	for lo := 0; lo < len(events); lo += size {
		hi := min(lo+size, len(events))
		if c.decide(ctx, n, events[lo:hi], sr.decisions[lo:hi], 1); c.broken.Load() {
			return false
		}
	}
	if !c.retry(ctx, cur, n, events) {
		return false
	}
	if cur.s.Trace != nil {
		cur.s.Trace.Leave(n)
	}
	cur.s.Tallies[n.Index].Late += sr.late
	kept := c.route(cur, n, events)
	c.produce(cur, n, sr.produced)
	return c.children(ctx, cur, n, kept)
}

// children hands what left on port out to the chained stages.
func (c *Chain) children(ctx context.Context, cur *cursor, n *Node, kept []event.Event) bool {
	if len(n.Children) == 0 {
		return true
	}
	made := c.scratch[n.Index].made
	if len(made) > 0 {
		kept = append(kept[:len(kept):len(kept)], made...)
	}
	if len(kept) == 0 {
		return true
	}
	for i, child := range n.Children {
		given := kept
		if i < len(n.Children)-1 { // children may change events, so each but the last gets its own copy
			forks := &c.copies(n, child).forks
			given = emptied(*forks)
			for j := range kept {
				given = append(given, kept[j].Fork())
			}
			*forks = given
		}
		if child.Depth == c.cut && c.downstream != nil {
			if !c.then(ctx, cur, func(cur *cursor) bool { return c.node(ctx, cur, child, given) }) {
				return false
			}
		} else if !c.node(ctx, cur, child, given) {
			return false
		}
	}
	return true
}

// route does with each event what was decided, and returns those that left on port out.
func (c *Chain) route(cur *cursor, n *Node, events []event.Event) []event.Event {
	sr := &c.scratch[n.Index]
	all := true
	kept := &c.copies(n, n).kept
	next := emptied(*kept)
	cur.rewind()
	for i := range events {
		e, d := &events[i], &sr.decisions[i]
		if len(cur.bad) > 0 && n.Depth == 0 {
			c.deadLetterUndecodable(cur, e.Origin.Index)
		}
		cur.moveTo(e)
		var out bool
		switch where, at := c.went(cur, n); where {
		case progress.Stored:
			out = c.repeated(cur, n, at)
		case progress.Behind: // it may lack on the port itself
			out = c.emit(cur, n, e, config.PortOut)
		default:
			out = c.decided(cur, n, e, d, sr.attempts(i))
		}
		if len(n.Children) == 0 {
			continue
		}
		if !out && all { // the first one that is left out
			all = false
			next = append(next, events[:i]...)
		} else if out && !all {
			next = append(next, *e)
		}
	}
	*kept = next
	if all {
		return events
	}
	return next
}

// decided does with an event what was decided, and says whether it left on port out.
func (c *Chain) decided(cur *cursor, n *Node, e *event.Event, d *stage.Decision, attempts int) (out bool) {
	t := &cur.s.Tallies[n.Index]
	switch d.Verdict {
	case stage.Emit:
		return c.emit(cur, n, e, d.Port)
	case stage.Filter:
		t.Filtered++
	case stage.Duplicate:
		t.Duplicates++
	case stage.DeadLetter, stage.Retry:
		c.deadLetter(cur, n, e, d.Reason, d.Err, attempts)
	}
	return false
}

// repeated counts an event that was stored at an outlet when its step was tried before, whatever was decided now, and says
// whether it left on port out.
func (c *Chain) repeated(cur *cursor, n *Node, at *Outlet) (out bool) {
	tl := &cur.s.Tallies[n.Index]
	if at.Port.Name == config.PortDeadLetter {
		tl.DeadLettered++
		return false
	}
	tl.Emitted++
	if out = at.Port.Name == config.PortOut; out {
		tl.Out++
	}
	return out
}
