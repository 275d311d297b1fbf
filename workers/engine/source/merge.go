package source

import (
	"context"
	"sync/atomic"
	"time"
)

// mergeTick is how often a Merger checks whether an idle input has moved on.
const mergeTick = 20 * time.Millisecond

// Merger brings the messages of several inputs into one order. A message is in turn when every other input has a later one, or
// the server says that there is none before it (Input.look), with Margin for clocks of servers that differ.
type Merger struct {
	Inputs []*Input
	// In are messages of all inputs, each of which is in order.
	In <-chan *Message
	// Out takes them in one order.
	Out chan<- *Message

	holds atomic.Bool
}

// Margin is how far the clocks of two servers may differ: the clock of the server that stores the messages may be another one
// than that of the server that has the consumer, and a replica may be behind.
const Margin = 2 * time.Second

// Holds says whether a message waits for another input.
func (g *Merger) Holds() bool { return g.holds.Load() }

// Run passes messages on until stopping is closed or ctx ends. again are messages that come before all others, by input.
func (g *Merger) Run(ctx context.Context, again [][]*Message, stopping <-chan struct{}) {
	waiting := again
	tick := time.NewTicker(mergeTick)
	defer tick.Stop()
	defer g.holds.Store(false)
	for {
		var out chan<- *Message
		first, some := g.inTurn(waiting)
		if first != nil {
			out = g.Out
		}
		g.holds.Store(some && first == nil)
		select {
		case m := <-g.In:
			waiting[m.Input.Index] = append(waiting[m.Input.Index], m)
		case out <- first:
			waiting[first.Input.Index][0] = nil // it is not held on to
			waiting[first.Input.Index] = waiting[first.Input.Index][1:]
		case <-tick.C:
		case <-stopping:
			return
		case <-ctx.Done():
			return
		}
	}
}

// inTurn is the first of what waits, by input, if nothing can come before it; nil = none is known. some says that something waits.
func (g *Merger) inTurn(waiting [][]*Message) (first *Message, some bool) {
	for _, messages := range waiting {
		if len(messages) > 0 && (first == nil || messages[0].before(first)) {
			first = messages[0]
		}
	}
	for i, messages := range waiting {
		if first != nil && len(messages) == 0 && g.Inputs[i].State().Quiet-int64(Margin) < first.Stored {
			return nil, true
		}
	}
	return first, first != nil
}
