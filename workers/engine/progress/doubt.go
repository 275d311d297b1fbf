package progress

import (
	"math"
	"sync"
)

// Written is what the last output on one subject of a lane says, and, when its step is in doubt, what all outputs of
// that step on that subject say.
type Written struct {
	// Node is the stage that writes the subject.
	Node int
	// Track numbers the subjects of the lane; Port is the number of the port that it is of.
	Track, Port int
	// Reach is how far the last output reaches into each input.
	Reach []Position
	// Done is up to where everything was done when its step began; nil = the output does not say (it is of a release
	// that did not).
	Done []Position
	// Items are what the outputs of its step hold.
	Items []*Items
}

// Doubt is what a lane knows of the step that the worker before may have stored in part. It may be used by several
// goroutines. A nil one knows nothing: everything is to be stored.
type Doubt struct {
	done, end []Position
	parents   []int
	// before is how far the outputs on a track reach that list no items: they count up to there.
	before map[int][]Position
	nodes  map[int]*stored // by node

	mu sync.Mutex // of stored.made
}

// stored is what the outputs of one stage hold.
type stored struct {
	received map[Item]Copies  // by its place
	made     map[uint64][]int // by id: the port of each copy
}

// Copies say on which ports of a stage an item is stored, and on which it was to be stored: sets of their numbers.
type Copies struct{ Stored, Decided uint64 }

// Lacks are the ports on which the item is still to be stored.
func (c Copies) Lacks() uint64 { return c.Decided &^ c.Stored }

// Done returns up to where everything is done, as the last outputs of a lane say together.
func Done(inputs int, written []Written) []Position {
	done := make([]Position, inputs)
	for _, w := range written {
		Advance(done, w.Done)
	}
	return done
}

// InDoubt says whether the step that w is of is the one that may be stored in part.
func (w *Written) InDoubt(done []Position) bool {
	for i, p := range w.Reach {
		if p.After(done[i]) {
			return true
		}
	}
	return false
}

// NewDoubt makes it of what is written on each subject of a lane that has anything. Fill Items only where
// InDoubt is true. The lane has so many inputs, and parents names for each stage the one whose events it is given, -1 for the first.
func NewDoubt(inputs int, parents []int, written []Written) *Doubt {
	d := &Doubt{
		done: Done(inputs, written), end: make([]Position, inputs), parents: parents,
		before: map[int][]Position{}, nodes: map[int]*stored{},
	}
	copy(d.end, d.done)
	for _, w := range written {
		if w.Done == nil {
			d.before[w.Track] = w.Reach
			continue
		}
		if !w.InDoubt(d.done) {
			continue
		}
		for i, p := range w.Reach {
			p.Index = math.MaxUint32 // all that comes of the message: batches of two tries differ
			if p.After(d.end[i]) {
				d.end[i] = p
			}
		}
		n := d.nodes[w.Node]
		if n == nil {
			n = &stored{map[Item]Copies{}, map[uint64][]int{}}
			d.nodes[w.Node] = n
		}
		for _, items := range w.Items {
			items.each(func(it Item) {
				if it.Made != 0 {
					n.made[it.Made] = append(n.made[it.Made], w.Port)
					return
				}
				c, on := n.received[it.place()], uint64(1)<<w.Port
				n.received[it.place()] = Copies{c.Stored | on, c.Decided | it.Ports | on}
			})
		}
	}
	return d
}

// each yields the items.
func (s *Items) each(yield func(Item)) {
	for _, r := range s.runs {
		for m := range r.messages {
			for k := range r.events {
				yield(Item{Input: r.input, Seq: r.seq + uint64(m), Index: r.index + k, Ports: r.ports})
			}
		}
	}
	for _, m := range s.made {
		yield(Item{Made: m})
	}
}

// within says whether what is made at a position of an input is of the step in doubt.
func (d *Doubt) within(input int, at Position) bool {
	return d != nil && at.After(d.done[input]) && !at.After(d.end[input])
}

// Side says on which side of the step in doubt a message of an input lies: before it, in it or behind it. What a stage
// makes of messages of two sides together would belong to neither.
func (d *Doubt) Side(input int, seq uint64) int {
	switch {
	case d == nil || seq > d.end[input].Seq:
		return 1
	case seq > d.done[input].Seq:
		return 0
	}
	return -1
}

// AtLeast moves each of at on to where everything is known to be done.
func (d *Doubt) AtLeast(at []Position) []Position {
	if d == nil {
		return at
	}
	return Advance(at, d.done)
}

// Open says whether a step that begins at done may hold items of the one in doubt.
func (d *Doubt) Open(done []Position) bool {
	if d == nil {
		return false
	}
	for i, p := range d.end {
		if p.After(done[i]) {
			return true
		}
	}
	return false
}

// Fresh says whether an item of which Went knows nothing is to be stored on a track. What lies before the step in doubt is
// done, wherever it went.
func (d *Doubt) Fresh(track, input int, at Position) bool {
	if d == nil {
		return true
	}
	if reach, ok := d.before[track]; ok && !at.After(reach[input]) {
		return false
	}
	return at.After(d.done[input])
}

// Where says where an item of the step in doubt went at its first try.
type Where uint8

// The places.
const (
	Unknown Where = iota // nowhere, or it was left out: it is decided now
	Stored               // on ports of the stage itself
	Behind               // on to stages behind this one, which have stored it
)

// Went says where an item went at a stage when its step was tried before, and if it is Stored, on which ports. Each stored copy
// of a new event answers for one event of that id.
func (d *Doubt) Went(node, input int, at Position, it Item) (where Where, on Copies) {
	if !d.within(input, at) {
		return Unknown, on
	}
	if on = d.take(node, it); on.Stored != 0 {
		return Stored, on
	}
	for n := range d.nodes {
		if n != node && d.isBehind(n, node) && d.has(n, it) {
			return Behind, on
		}
	}
	return Unknown, on
}

func (d *Doubt) isBehind(n, node int) bool {
	for n >= 0 && n != node {
		n = d.parents[n]
	}
	return n == node
}

func (d *Doubt) take(node int, it Item) (on Copies) {
	n := d.nodes[node]
	if n == nil {
		return on
	}
	if it.Made == 0 {
		return n.received[it.place()]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ports := n.made[it.Made]
	if len(ports) == 0 {
		return on
	}
	n.made[it.Made] = ports[1:]
	return Copies{1 << ports[0], 1 << ports[0]}
}

func (d *Doubt) has(node int, it Item) bool {
	n := d.nodes[node]
	if it.Made == 0 {
		return n.received[it.place()].Stored != 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(n.made[it.Made]) > 0
}
