package chain

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"millrace.dev/millrace/workers/event"
)

// The first stage may send events aside, to port overflow (stage.Overflow), from where another lane replays them (Options.Replay). Whether an event
// follows one of its key there is asked when it is decided about, in the order of the input: an answer that came while one before
// it had none counts for nothing.

// toAsk returns the events that the stage is to be asked about, and their places; those that are sure to follow others are left out. Nil places = all.
func (c *Chain) toAsk(events []event.Event) (asked []event.Event, places []int) {
	if c.overflow == nil || c.overflow.Clear() {
		return events, nil
	}
	asked, places = make([]event.Event, 0, len(events)), make([]int, 0, len(events))
	for i := range events {
		if !c.overflow.Behind(events[i].KeyHash()) {
			asked, places = append(asked, events[i]), append(places, i)
		}
	}
	if len(asked) == len(events) {
		return events, nil
	}
	return asked, places
}

// follows says whether an event that n received is to follow one of its key.
func (c *Chain) follows(n *Node, e *event.Event) bool {
	return c.overflow != nil && n == c.head && c.overflow.Behind(e.KeyHash())
}

// sendAside sends an event to the overflow.
func (c *Chain) sendAside(cur *cursor, n *Node, e *event.Event) (out bool) {
	if cur.s.Overflow == 0 {
		cur.s.Overflow = c.overflow.Next()
	}
	c.overflow.Add(e.KeyHash(), cur.s.Overflow)
	return c.leave(cur, n, e, c.aside, 0)
}

// received is an event without what the stage has added to it.
func (c *Chain) received(cur *cursor, n *Node, e *event.Event) *event.Event {
	r := &c.scratch[n.Index].reread
	if r.input != cur.in || r.sequence != cur.m.Sequence || r.events == nil {
		decoder := c.newDecoders(event.NewContexts(rereadBytes))[cur.in] // those of the chain are in use
		r.input, r.sequence = cur.in, cur.m.Sequence
		r.events, _ = decoder.Decode(nil, cur.m.Message)
	}
	i, _ := slices.BinarySearchFunc(r.events, e.Origin.Index, func(e event.Event, index int) int { return cmp.Compare(e.Origin.Index, index) })
	return &r.events[i]
}

// rereadBytes is how much a decoder remembers that reads one message again.
const rereadBytes = 1 << 20

// reread is a message whose events were decoded once more.
type reread struct {
	input    int
	sequence uint64
	events   []event.Event
}

// asideError is why events wait that would be sent aside.
type asideError struct{ error }

func (e asideError) Unwrap() error { return e.error }

// waitsAside says whether the lane waits with what would be sent aside if it had not been before.
func (c *Chain) waitsAside(away error) bool {
	return c.replay != nil && errors.As(away, &asideError{})
}

// maxAside is how long such a lane waits before it asks again: the stage knows whether it can be asked, and answers at once.
const maxAside = 250 * time.Millisecond
