package chain

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"

	"millrace.dev/millrace/workers/event"
)

// call is one call of Process; a panic becomes an error.
func (c *Chain) call(ctx context.Context, n *Node, events []event.Event, attempt int) (err error) {
	sr := &c.scratch[n.Index]
	b := &sr.batch
	b.Events, b.Now, b.Partition, b.Newest = events, sr.now, sr.partition, ingressTime(sr.newest)
	b.Replayed = c.replay != nil
	b.Reset(attempt)
	ctx, cancel := context.WithTimeout(ctx, c.callTimeout)
	defer cancel()
	defer c.clocked(n)()
	defer c.recovered(&err)
	return c.instances[n.Index].stage.Process(ctx, b)
}

// clocked notes how long a call of the stage takes, and that it goes on.
func (c *Chain) clocked(n *Node) (end func()) {
	began, busy := c.now(), &c.busySince[c.partOf(n)]
	busy.Store(began.UnixNano())
	return func() {
		busy.Store(0)
		n.Calls.Observe(c.now().Sub(began).Seconds())
	}
}

// recovered turns a panic of the stage into an error.
func (c *Chain) recovered(err *error) {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	*err = &panicError{value: v, stack: stack}
	if c.panics.Allow(c.now()) {
		c.log.Error("the stage panicked", "panic", fmt.Sprint(v), "stack", string(stack))
	}
}

// panicError is a panic of the stage.
type panicError struct {
	value any
	stack []byte
}

// Error gives the value and where it happened: the frames above panic itself.
func (p *panicError) Error() string {
	stack := p.stack
	if _, above, ok := bytes.Cut(stack, []byte("panic(")); ok {
		stack = above
		for range 2 { // the rest of the line of panic, and its file
			if _, next, ok := bytes.Cut(stack, []byte("\n")); ok {
				stack = next
			}
		}
	}
	return fmt.Sprintf("panic: %v\n%s", p.value, stack)
}
