package chain

import (
	"context"
	"slices"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// memory is that of one message while it is processed.
type memory struct {
	// decoders are by input: those that stages fill share one, the others another.
	decoders []*decode.Decoder
	events   []event.Event
	copies   []copies // by node
}

// copies are events that a chain passes on beside those of the message.
type copies struct {
	kept  []event.Event // what goes on behind the node, when it is not all
	forks []event.Event // what the node is given, when others are given the same
}

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

func (h *memory) empty() {
	for _, d := range h.decoders {
		d.Reset()
	}
	h.events = emptied(h.events)
}

// held is how much memory the events in hand take, in bytes, messages apart.
func (h *memory) held() (bytes int) {
	for i, d := range h.decoders {
		if slices.Index(h.decoders, d) == i {
			bytes += d.Held()
		}
	}
	return bytes
}

// decode decodes m behind the events in hand.
func (h *memory) decode(m *Message) (bad []decode.Undecodable, known Measure) {
	lo := len(h.events)
	h.events, bad = h.decoders[m.Input].Decode(h.events, m.Message)
	known.Events = len(h.events) - lo + len(bad)
	if len(h.events) > lo {
		known.Ingest = h.events[lo].IngestTime
	}
	return bad, known
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

// keepItems is how many elements a slice that is used again may have room for. Frames of the operator's
// default batch fit. What one unusual message needed is given back.
const keepItems = 8192

// emptied returns no elements, in the memory of s unless that is unusually large.
func emptied[T any](s []T) []T {
	if cap(s) > keepItems {
		return nil
	}
	return s[:0]
}

// grow returns n zero elements, in the memory of s where that is enough and not unusually large.
func grow[T any](s []T, n int) []T {
	s = emptied(s)
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
