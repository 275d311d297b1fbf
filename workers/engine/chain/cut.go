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

// partOf is the part of the chain that n belongs to.
func (c *Chain) partOf(n *Node) int {
	if c.inFlight > 0 {
		return 1
	}
	return n.part
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
