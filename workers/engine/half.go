package engine

import (
	"context"
	"slices"
	"sync"

	"millrace.dev/millrace/workers/event"
)

// A chain is worked on in two halves, each in a goroutine of its own: while the stages of the
// second half are at a message, those of the first half take the next one, and a third goroutine
// decodes the one after that. What the first half hands
// over, and what it has done after that (a flush, the end of a step), goes through one channel,
// so that each stage sees the same order as in a single goroutine.
//
// While a lane is taken over, and where there is no chain, one goroutine does it all.

// job is what the second half is to do; false when it cannot go on.
type job func() bool

// hand is the memory of one message while it is processed.
type hand struct {
	// decoders are by input: those that stages fill share one, the others another.
	decoders []*event.Decoder
	events   []event.Event
	copies   []copies // by node
}

// copies are events that a chain passes on beside those of the message.
type copies struct {
	kept  []event.Event // what goes on behind the node, when it is not all
	forks []event.Event // what the node is given, when others are given the same
}

// handsPerLane is how many messages a lane with two halves has in hand at once: one in each half, one that is being
// decoded, and one waiting in each of the two queues between them.
const handsPerLane = 5

// cutChain divides the stages: those from a depth on make the second half. Where several stages
// are given the same events, the copies share the memory that what is added to an event goes to, so the
// stages behind such a branch are all in one half.
func cutChain(nodes []*node) (halves [2][]*node, cut int) {
	cut = (nodes[0].deepest() + 2) / 2
	for again := true; again; {
		again = false
		for _, n := range nodes {
			if first := n.depth + 1; len(n.children) > 1 && first < cut && cut <= n.deepest() {
				cut, again = first, true
			}
		}
	}
	for _, n := range nodes {
		if n.depth >= cut {
			n.half = 1
		}
		halves[n.half] = append(halves[n.half], n)
	}
	return halves, cut
}

// deepest is the largest depth among n and what is behind it.
func (n *node) deepest() int {
	depth := n.depth
	for _, c := range n.children {
		depth = max(depth, c.deepest())
	}
	return depth
}

// contextBytes is how much the lanes of a worker together remember of what events have in common
// (event.Contexts).
const contextBytes = 32 << 20

func (l *lane) makeHands() {
	n := 1
	if len(l.e.halves[1]) > 0 {
		n = handsPerLane
	}
	l.hands, l.contexts = make(chan *hand, n), event.NewContexts(contextBytes/max(l.e.cfg.Lanes, 1))
	for range n {
		l.hands <- &hand{decoders: l.newDecoders(), copies: make([]copies, len(l.e.nodes))}
	}
}

// begun takes a hand, and back the memory of the events before: what is kept of them was copied.
func (l *lane) begun(ctx context.Context) bool {
	select {
	case l.hand = <-l.hands:
		l.hand.empty()
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *hand) empty() {
	for _, d := range h.decoders {
		d.Reset()
	}
	h.events = emptied(h.events)
}

// held is how much memory the events in hand take, in bytes, messages apart.
func (h *hand) held() (bytes int) {
	for i, d := range h.decoders {
		if slices.Index(h.decoders, d) == i {
			bytes += d.Held()
		}
	}
	return bytes
}

// decode decodes m behind the events in hand.
func (h *hand) decode(m *message) (bad []event.Undecodable, known measure) {
	lo := len(h.events)
	h.events, bad = h.decoders[m.in.index].Decode(h.events, event.Message{
		Header: m.header, Data: m.data, Input: m.in.index, Sequence: m.seq, Time: m.stored, Only: m.only,
	})
	known.events = len(h.events) - lo + len(bad)
	if len(h.events) > lo {
		known.ingest = h.events[lo].IngestTime
	}
	return bad, known
}

// ahead decodes the messages of a step of a chain, one after another, while its stages are at the
// one before.
type ahead struct {
	l      *lane
	out    chan decoded // closed when the work has ended
	cancel context.CancelFunc
}

type decoded struct {
	hand    *hand
	bad     []event.Undecodable
	measure measure
}

func (l *lane) decodeAhead(parent context.Context, s *step) *ahead {
	ctx, cancel := context.WithCancel(parent)
	a := &ahead{l: l, out: make(chan decoded, 1), cancel: cancel}
	messages := slices.Clone(s.messages) // the step may lose some while they are decoded
	go func() {
		defer close(a.out)
		for _, m := range messages {
			var d decoded
			select {
			case d.hand = <-l.hands:
			case <-ctx.Done():
				return
			}
			d.hand.empty()
			d.bad, d.measure = d.hand.decode(m)
			select {
			case a.out <- d:
			case <-ctx.Done():
				l.hands <- d.hand
				return
			}
		}
	}()
	return a
}

// end waits until nothing is decoded any more, and gives back what nobody took.
func (a *ahead) end() {
	a.cancel()
	for d := range a.out {
		a.l.hands <- d.hand
	}
}

// release gives the hand back when all stages are done with it.
func (l *lane) release(ctx context.Context, sc *scene) bool {
	h := l.hand
	return l.then(ctx, sc, func(*scene) bool {
		l.hands <- h
		return true
	})
}

// copies is the memory that node n has for the copies of node of: itself or a child.
func (l *lane) copies(n, of *node) *copies {
	switch {
	case n.half > 0 || l.second == nil:
		return &l.scratch[of.index].copies
	case l.hand != nil:
		return &l.hand.copies[of.index]
	}
	return new(copies)
}

// then has do done by the second half, or at once when there is none.
func (l *lane) then(ctx context.Context, sc *scene, do func(*scene) bool) bool {
	if l.second == nil {
		return do(sc)
	}
	at := *sc
	at.second = true
	select {
	case l.second <- func() bool { return do(&at) }:
		return true
	case <-ctx.Done():
		return false
	}
}

// beginSecond starts the second half of a chain. The context ends when it cannot go on; end
// waits for it.
func (l *lane) beginSecond(parent context.Context) (ctx context.Context, end func()) {
	if len(l.e.halves[1]) == 0 {
		return parent, func() {}
	}
	ctx, cancel := context.WithCancel(parent)
	jobs := make(chan job, 16)
	l.second = jobs
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
		l.second = nil
		close(jobs)
		done.Wait()
		cancel()
	}
}
