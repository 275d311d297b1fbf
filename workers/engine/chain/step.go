package chain

import (
	"slices"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// Step is what a chain takes at once: some messages in stream order, and what they led to. It is used again and again.
type Step struct {
	Messages []Message
	// Frames is how many of them are frames. When none is, they may be decoded together.
	Frames int
	// Measures are of the messages that are processed, in the same order.
	Measures []Measure
	// Pending are the outputs, by outlet, in the order in which they are to be stored.
	Pending []*Pending
	// Rows are what the sink keeps, in the order of the input.
	Rows []Row
	// later are those of the stages downstream of the cut, until the step is through.
	later []*Pending
	// Mark is what may be said of the ingress when all of the step is stored.
	Mark progress.Mark
	// Tallies count by node what becomes of the events.
	Tallies []Tally
	// Overflow is the number of the step among those that send something to the overflow; 0 = it sends nothing there.
	Overflow uint64
	// Trace is told when stages are at work; nil = nobody is.
	Trace Trace
}

// Trace is told when a stage takes events up, and when it has decided.
type Trace interface {
	Enter(n *Node, events []event.Event)
	Leave(n *Node)
}

// Measure is what is known of a message that was decoded.
type Measure struct {
	Events int
	// Ingest is the ingest time of the first event, Unix nanoseconds; 0 = unknown.
	Ingest int64
	// Marker says that the message held none (IsMarker).
	Marker bool
}

// NewStep makes a step of a chain of so many stages.
func NewStep(nodes int) *Step { return &Step{Tallies: make([]Tally, nodes)} }

// Reset makes s empty.
func (s *Step) Reset() {
	clear(s.Messages)
	clear(s.Pending)
	clear(s.later)
	clear(s.Rows)
	s.later = s.later[:0]
	s.Messages, s.Measures, s.Pending, s.Rows = s.Messages[:0], s.Measures[:0], s.Pending[:0], emptied(s.Rows)
	s.Frames, s.Mark, s.Overflow = 0, progress.Mark{}, 0
	for i := range s.Tallies {
		s.Tallies[i].reset()
	}
}

// Tally counts what became of the events of one step at one stage.
type Tally struct {
	Events, Emitted, Out, Filtered, Duplicates, Kept, DeadLettered, Overflowed, Retried, Late int64

	Reasons  []Count
	Produced []Count
	Skips    []Count // by port
	// Ports count what left, received or new, on ports other than out; Dropped what was left out because the stream was full, by port.
	Ports, Dropped []Count
}

// Drop counts events that left on a port and are not stored there.
func (t *Tally) Drop(port string, events int64) {
	t.Dropped = addTo(t.Dropped, port, events)
	if port == config.PortOut {
		t.Out -= events
		return
	}
	t.Ports = addTo(t.Ports, port, -events)
}

// left counts an event that left on the port of a number.
func (t *Tally) left(n *Node, number int) {
	if number == 0 {
		t.Out++
		return
	}
	t.Ports = addTo(t.Ports, n.Ports.Names[number], 1)
}

// dead counts a dead letter.
func (t *Tally) dead(reason string) {
	t.DeadLettered++
	t.Reasons = addTo(t.Reasons, reason, 1)
}

// skip counts an event that is stored on a port already.
func (t *Tally) skip(port string) { t.Skips = addTo(t.Skips, port, 1) }

// Count is a number under a name.
type Count struct {
	Name string
	N    int64
}

func (t *Tally) reset() {
	*t = Tally{Reasons: t.Reasons[:0], Produced: t.Produced[:0], Skips: t.Skips[:0], Ports: t.Ports[:0], Dropped: t.Dropped[:0]}
}

func addTo(counts []Count, name string, n int64) []Count {
	if i := slices.IndexFunc(counts, func(c Count) bool { return c.Name == name }); i >= 0 {
		counts[i].N += n
		return counts
	}
	return append(counts, Count{name, n})
}

// Row is an event that the sink keeps.
type Row struct {
	// Value is what the stage made of it.
	Value any

	message, index int // where it stands in the step
}
