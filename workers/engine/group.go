package engine

import (
	"iter"
	"slices"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// group is what a lane works on at once: some messages, their events, and what was
// decided about them. Its slices are used again for the next group.
type group struct {
	messages []*message
	spans    []span // of messages, in the same order
	events   []event.Event
	// decisions are those of events, index for index.
	decisions []stage.Decision
	produced  []stage.Produced
	bad       []event.Undecodable
	badOf     []*message // the messages of bad
	frames    int        // messages that are frames
	bytes     int
	// tried is how often an event was processed, for events that were processed again.
	tried   map[int]int
	decoder *event.Decoder
}

// span is the part of the events of a group that came in one message.
type span struct {
	lo, hi int
	frame  bool
}

func newGroup() *group { return &group{decoder: event.NewDecoder(event.Limits{})} }

func (g *group) reset() {
	clear(g.messages)
	// events and decisions are overwritten as they are appended.
	clear(g.produced)
	clear(g.bad)
	clear(g.badOf)
	g.messages, g.spans, g.events, g.decisions = g.messages[:0], g.spans[:0], g.events[:0], g.decisions[:0]
	g.produced, g.bad, g.badOf = g.produced[:0], g.bad[:0], g.badOf[:0]
	g.frames, g.bytes, g.tried = 0, 0, nil
	g.decoder.Reset()
}

// add decodes m behind what is there.
func (g *group) add(m *message) {
	lo := len(g.events)
	var bad []event.Undecodable
	g.events, bad = g.decoder.Decode(g.events, event.Message{
		Header: m.header, Data: m.data, Input: m.in.index, Sequence: m.seq, Time: m.stored,
	})
	s := span{lo: lo, hi: len(g.events)}
	if s.hi > s.lo {
		s.frame = g.events[lo].Form() == event.FormFrame
		m.ingest = g.events[lo].IngestTime
	}
	for _, b := range bad {
		g.bad = append(g.bad, b)
		g.badOf = append(g.badOf, m)
	}
	if s.frame {
		g.frames++
	}
	m.tally.events = int64(s.hi - s.lo + len(bad))
	g.messages = append(g.messages, m)
	g.spans = append(g.spans, s)
	g.bytes += len(m.data)
	g.decisions = slices.Grow(g.decisions, s.hi-lo)[:s.hi]
	clear(g.decisions[lo:])
}

// of returns the message of event i.
func (g *group) of(i int) *message {
	lo, hi := 0, len(g.spans)-1
	for lo < hi { // the first span that ends behind i
		mid := (lo + hi) / 2
		if g.spans[mid].hi <= i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return g.messages[lo]
}

// retries appends the events that are to be processed again to dst.
func (g *group) retries(dst []int) []int {
	for i := range g.decisions {
		if g.decisions[i].Verdict == stage.Retry {
			dst = append(dst, i)
		}
	}
	return dst
}

// hold keeps the messages of some events from being acknowledged, until release.
func (g *group) hold(indices []int) {
	for m := range g.messagesOf(indices) {
		m.hold(1)
	}
}

func (g *group) release(indices []int) {
	for m := range g.messagesOf(indices) {
		m.done()
	}
}

// messagesOf yields each message of some events, which are in ascending order, once.
func (g *group) messagesOf(indices []int) iter.Seq[*message] {
	return func(yield func(*message) bool) {
		var last *message
		for _, i := range indices {
			m := g.of(i)
			if m != last && !yield(m) {
				return
			}
			last = m
		}
	}
}
