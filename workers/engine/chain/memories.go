package chain

import (
	"context"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// memoriesPerLane is how many messages a lane has in hand at once when its chain is cut: one on each side, one that is being
// decoded, and one waiting in each of the two queues between them.
const memoriesPerLane = 5

// contextBytes is how much the lanes of a worker together remember of what events have in common
// (event.Contexts).
const contextBytes = 32 << 20

func (c *Chain) makeMemories() {
	n := 1
	if len(c.parts[1]) > 0 {
		n = memoriesPerLane + c.inFlight
	}
	c.memories, c.contexts = make(chan *memory, n), event.NewContexts(contextBytes/max(c.lanes, 1))
	for range n {
		c.memories <- &memory{decoders: c.newDecoders(c.contexts), copies: make([]copies, len(c.nodes))}
	}
}

// newDecoders makes the decoders of one message in hand, by input. contexts is what they remember.
func (c *Chain) newDecoders(contexts *event.Contexts) []*decode.Decoder {
	made, all := map[bool]*decode.Decoder{}, make([]*decode.Decoder, len(c.inputs))
	for i, in := range c.inputs {
		own := framed(in.From)
		if made[own] == nil {
			made[own] = decode.New(decode.Limits{Hints: own, Lift: !own})
			made[own].Remember(contexts)
		}
		all[i] = made[own]
	}
	return all
}

// begun takes a memory, and back the memory of the events before: what is kept of them was copied.
func (c *Chain) begun(ctx context.Context) bool {
	select {
	case c.memory = <-c.memories:
		c.memory.empty()
		return true
	case <-ctx.Done():
		return false
	}
}

// release gives the memory back when all stages are done with it.
func (c *Chain) release(ctx context.Context, cur *cursor) bool {
	h := c.memory
	return c.then(ctx, cur, func(*cursor) bool {
		c.memories <- h
		return true
	})
}

// copies is the memory that node n has for the copies of node of: itself or a child.
func (c *Chain) copies(n, of *Node) *copies {
	switch {
	case c.partOf(n) > 0 || c.downstream == nil:
		return &c.scratch[of.Index].copies
	case c.memory != nil:
		return &c.memory.copies[of.Index]
	}
	return new(copies)
}
