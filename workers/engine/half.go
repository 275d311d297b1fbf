package engine

import (
	"context"
	"sync"

	"millrace.dev/millrace/workers/event"
)

// A chain is worked on in two halves, each in a goroutine of its own: while the stages of the
// second half are at a message, those of the first half take the next one. What the first half hands
// over, and what it has done after that (a flush, the end of a step), goes through one channel,
// so that each stage sees the same order as in a single goroutine.
//
// While a lane is taken over, and where there is no chain, one goroutine does it all.

// job is what the second half is to do; false when it cannot go on.
type job func() bool

// hand is the memory of one message while it is processed.
type hand struct {
	decoder *event.Decoder
	events  []event.Event
	// kept are the events that go on in the chain, by node, when they are not all.
	kept [][]event.Event
}

// handsPerLane is how many messages a lane with two halves has in hand at once: one in each, and one
// between them.
const handsPerLane = 3

// cutChain divides the stages: those from a depth on make the second half.
func cutChain(nodes []*node) (halves [2][]*node, cut int) {
	depth := 0
	for _, n := range nodes {
		depth = max(depth, n.depth)
	}
	cut = (depth + 2) / 2
	for _, n := range nodes {
		if n.depth >= cut {
			n.half = 1
		}
		halves[n.half] = append(halves[n.half], n)
	}
	return halves, cut
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
		l.hands <- &hand{decoder: l.newDecoder(), kept: make([][]event.Event, len(l.e.nodes))}
	}
}

// begun takes a hand, and back the memory of the events before: what is kept of them was copied.
func (l *lane) begun(ctx context.Context) bool {
	select {
	case l.hand = <-l.hands:
		l.hand.decoder.Reset()
		l.hand.events = l.hand.events[:0]
		return true
	case <-ctx.Done():
		return false
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

// kept is where node n keeps the events that go on in the chain, when they are not all.
func (l *lane) kept(n *node) *[]event.Event {
	switch {
	case n.half > 0 || l.second == nil:
		return &l.scratch[n.index].next
	case l.hand != nil:
		return &l.hand.kept[n.index]
	}
	return new([]event.Event)
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
