package chain

import (
	"context"
	"sync"
)

// A long chain is cut in two, and a goroutine works on each part: while the stages downstream of the cut are at a message,
// those before it take the next one, and a third goroutine decodes the one after that (ahead.go). What the first part hands
// over, and what it has done after that (a flush, the end of a step), goes through one channel,
// so that each stage sees the same order as in a single goroutine.
//
// While a lane is taken over, and where there is no chain, one goroutine does it all.

// job is what the stages downstream are to do; false when they cannot go on.
type job func() bool

// cutChain divides the stages: those from a depth on are downstream of the cut. Where several stages
// are given the same events, the copies share the memory that what is added to an event goes to, so the
// stages behind such a branch are all in one part.
func cutChain(nodes []*Node) (parts [2][]*Node, cut int) {
	cut = (nodes[0].deepest() + 2) / 2
	for again := true; again; {
		again = false
		for _, n := range nodes {
			if first := n.Depth + 1; len(n.Children) > 1 && first < cut && cut <= n.deepest() {
				cut, again = first, true
			}
		}
	}
	for _, n := range nodes {
		if n.Depth >= cut {
			n.part = 1
		}
		parts[n.part] = append(parts[n.part], n)
	}
	return parts, cut
}

// partOf is the part of the chain that n belongs to.
func (c *Chain) partOf(n *Node) int {
	if c.inFlight > 0 {
		return 1
	}
	return n.part
}

// deepest is the largest depth among n and what is behind it.
func (n *Node) deepest() int {
	depth := n.Depth
	for _, child := range n.Children {
		depth = max(depth, child.deepest())
	}
	return depth
}

// then has do done by the stages downstream, or at once when there are none.
func (c *Chain) then(ctx context.Context, cur *cursor, do func(*cursor) bool) bool {
	if c.downstream == nil {
		return do(cur)
	}
	at := *cur
	at.downstream = true
	select {
	case c.downstream <- func() bool { return do(&at) }:
		return true
	case <-ctx.Done():
		return false
	}
}

// Start has the stages downstream work in a goroutine of their own. The context ends when they cannot go on; end
// waits for them.
func (c *Chain) Start(parent context.Context) (ctx context.Context, end func()) {
	if len(c.parts[1]) == 0 {
		return parent, func() {}
	}
	ctx, cancel := context.WithCancel(parent)
	jobs := make(chan job, 16+c.inFlight)
	c.downstream = jobs
	var done sync.WaitGroup
	done.Go(func() {
		for do := range jobs {
			if !do() {
				cancel()
				return
			}
		}
	})
	return ctx, func() {
		c.downstream = nil
		close(jobs)
		done.Wait()
		cancel()
	}
}

// Settle waits until the stages downstream have done all that came before; false when ctx has ended.
func (c *Chain) Settle(ctx context.Context) bool {
	idle := make(chan struct{})
	if !c.then(ctx, &cursor{}, func(*cursor) bool { close(idle); return true }) {
		return false
	}
	select {
	case <-idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// Through calls pass when all stages are done with a step. What pass returns says whether the chain goes on.
func (c *Chain) Through(ctx context.Context, s *Step, pass func() bool) bool {
	for _, p := range s.Pending {
		p.Outlet.open = nil
	}
	return c.then(ctx, &cursor{s: s}, func(*cursor) bool {
		for _, p := range s.later {
			p.Outlet.open = nil
		}
		s.Pending = append(s.Pending, s.later...)
		return pass()
	})
}
