package chain

import (
	"context"
	"slices"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// node takes events through one stage and what is chained to it.
func (c *Chain) node(ctx context.Context, cur *cursor, n *Node, events []event.Event) bool {
	sr := &c.scratch[n.Index]
	sr.decisions = grow(sr.decisions, len(events))
	sr.tried, sr.made, sr.picked = emptied(sr.tried), emptied(sr.made), emptied(sr.picked)
	sr.produced, sr.now, sr.partition, sr.newest, sr.late = emptied(sr.produced), cur.now, cur.partition, cur.newest, 0
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
		if n.Depth == 0 && cur.asked != nil {
			c.await(ctx, n, cur.asked, events, sr.decisions)
		} else {
			c.decide(ctx, n, events[lo:hi], sr.decisions[lo:hi], places{first: lo}, 1)
		}
		if c.broken.Load() {
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
	return c.children(ctx, cur, n, c.route(cur, n, events))
}

// children hands what left on port out to the chained stages.
func (c *Chain) children(ctx context.Context, cur *cursor, n *Node, kept []event.Event) bool {
	if len(n.Children) == 0 || len(kept) == 0 {
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

// descend hands what a stage has made of nothing received on to its children. These may be at it when made is used again, so they get a copy.
func (c *Chain) descend(ctx context.Context, cur *cursor, n *Node, made []event.Event) bool {
	return len(n.Children) == 0 || c.children(ctx, cur, n, slices.Clone(made))
}

// route does with each event what was decided, and returns what left on port out: received events, and new ones behind their parents.
func (c *Chain) route(cur *cursor, n *Node, events []event.Event) []event.Event {
	kept := &c.copies(n, n).kept
	left := leaving{events: events, next: emptied(*kept)}
	cur.rewind()
	products := c.scratch[n.Index].products()
	for i := range events {
		if len(cur.bad) > 0 && n.Depth == 0 {
			c.deadLetterUndecodable(cur, events[i].Origin.Index)
		}
		cur.moveTo(&events[i])
		left.take(i, c.settle(cur, n, &events[i], i))
		if len(products) > 0 && products[0].parent == i {
			products = c.produceOf(cur, n, products, &left, i)
		}
	}
	if len(products) > 0 {
		c.produceOf(cur, n, products, &left, behindAll)
	}
	*kept = left.next
	return left.all()
}

// settle does with event i of a message what was decided, now or when its step was tried before. It says whether the event left on port
// out.
func (c *Chain) settle(cur *cursor, n *Node, e *event.Event, i int) (out bool) {
	switch where, on := c.went(cur, n); where {
	case progress.Stored:
		return c.leave(cur, n, e, stage.Ports(on.Decided), stage.Ports(on.Stored))
	case progress.Behind: // it may lack on the port itself
		return c.emit(cur, n, e, stage.Out)
	default:
		sr := &c.scratch[n.Index]
		return c.decided(cur, n, e, &sr.decisions[i], sr.attempts(i))
	}
}

// produceOf publishes the products of one parent, which are the first ones, and returns the others.
func (c *Chain) produceOf(cur *cursor, n *Node, products []product, left *leaving, parent int) []product {
	k := slices.IndexFunc(products, func(p product) bool { return p.parent != parent })
	if k < 0 {
		k = len(products)
	}
	sr := &c.scratch[n.Index]
	sr.made = c.produce(cur, n, products[:k], sr.made[:0])
	left.add(min(parent, len(left.events)-1)+1, sr.made)
	return products[k:]
}

// decided does with an event what was decided, and says whether it left on port out.
func (c *Chain) decided(cur *cursor, n *Node, e *event.Event, d *stage.Decision, attempts int) (out bool) {
	t := &cur.s.Tallies[n.Index]
	switch d.Verdict {
	case stage.Emit:
		if c.follows(n, e) {
			return c.sendAside(cur, n, c.received(cur, n, e))
		}
		return c.emit(cur, n, e, d.Ports)
	case stage.Overflow:
		return c.sendAside(cur, n, e)
	case stage.Filter:
		t.Filtered++
	case stage.Duplicate:
		t.Duplicates++
	case stage.Keep:
		c.keep(cur, n, d.Row)
	case stage.DeadLetter, stage.Retry:
		c.deadLetter(cur, n, e, d.Reason, d.Err, attempts)
	}
	return false
}
