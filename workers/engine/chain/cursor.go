package chain

import (
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// cursor is where in the input the chain is: the position of what it makes now follows from that.
type cursor struct {
	s *Step
	m *Message // nil in a flush
	// messages are those of s; k is the number of m, first that of the first message that the cursor moves over.
	messages []Message
	k, first int
	// now is the stream time.
	now time.Time
	// partition is that of m, or noPartition.
	partition int
	// newest bounds the events of m in the time of the ingress; 0 = unknown.
	newest int64
	// downstream says that the stages downstream of the cut are at it.
	downstream bool
	bad        []decode.Undecodable // of m, not yet dead-lettered
	// in and at are the input and the position of what is made next; at.index grows.
	in int
	at progress.Position
	// made names what is made next, when that is a new event; 0 = it was received.
	made uint64
	// ports are where the received event at the cursor leaves, if these are several.
	ports stage.Ports
	// asked says that the first stage was given the events of the message already; nil = it was not.
	asked *question
	// replayed says that all of this is stored already.
	replayed bool
}

// moveTo moves the cursor to where e came from.
func (cur *cursor) moveTo(e *event.Event) {
	if cur.m == nil { // a flush: e was made by it
		cur.at.Index, cur.made = uint32(e.Origin.Index), e.Origin.Made
		return
	}
	for cur.m.Sequence != e.Origin.Sequence || cur.in != e.Origin.Input {
		cur.k++
		cur.m = &cur.messages[cur.k]
		cur.in = cur.m.Input
	}
	cur.at, cur.made = progress.Position{Seq: cur.m.Sequence, Index: uint32(e.Origin.Index)}, e.Origin.Made
}

// rewind moves the cursor back to its first message.
func (cur *cursor) rewind() {
	if cur.m != nil {
		cur.k = cur.first
		cur.m = &cur.messages[cur.k]
		cur.in = cur.m.Input
	}
}

// origin is the stream and the sequence of the message, for the header of a frame.
func (cur *cursor) origin() (stream string, first uint64) {
	if cur.m == nil {
		return "flush", 0
	}
	return cur.m.Stream, cur.m.Sequence
}

// enqueue appends o to what the step stores on an outlet.
func (cur *cursor) enqueue(at *Outlet, o *Output) {
	if at.open == nil {
		at.open = &Pending{Outlet: at}
		if cur.downstream {
			cur.s.later = append(cur.s.later, at.open)
		} else {
			cur.s.Pending = append(cur.s.Pending, at.open)
		}
	}
	at.open.Outputs = append(at.open.Outputs, o)
}

// item is what is made next.
func (cur *cursor) item() progress.Item {
	if cur.made != 0 {
		return progress.Item{Made: cur.made}
	}
	return progress.Item{Input: cur.in, Seq: cur.at.Seq, Index: cur.at.Index, Ports: uint64(cur.ports)}
}

// skip counts the item of the cursor as stored before.
func (cur *cursor) skip(at *Outlet) { cur.s.Tallies[at.Node.Index].skip(at.Port.Name) }

// fresh says whether the item of the cursor is still to be stored on an outlet, and notes that it will be. What is stored of the
// step in doubt does not come here (Chain.went).
func (c *Chain) fresh(cur *cursor, at *Outlet) bool {
	if cur.replayed {
		return false
	}
	if !c.doubt.Fresh(at.Number, cur.in, cur.at) {
		cur.skip(at)
		return false
	}
	if cur.at.After(at.Packed[cur.in]) {
		at.Packed[cur.in] = cur.at
	}
	return true
}

// went says where the item of the cursor went at node n when its step was tried before, and on which ports it is stored.
func (c *Chain) went(cur *cursor, n *Node) (where progress.Where, on progress.Copies) {
	if cur.replayed {
		return progress.Unknown, on
	}
	where, on = c.doubt.Went(n.Index, cur.in, cur.at, cur.item())
	if where != progress.Stored {
		return where, on
	}
	for i := range stage.Ports(on.Stored).Numbers {
		cur.s.Tallies[n.Index].skip(n.Ports.Names[i])
	}
	return where, on
}
