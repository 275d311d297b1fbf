package engine

import (
	"slices"

	"millrace.dev/millrace/workers/event"
)

// A step is what a lane takes through its stages at once: some messages in stream order,
// what they led to, and the acknowledgements that follow when all of that is stored. A lane
// has a few of them, which are used again and again.
type step struct {
	messages []*message
	spans    []span // of messages, in the same order
	events   []event.Event
	bad      []undecodable
	frames   int // messages that are frames
	bytes    int
	decoder  *event.Decoder

	// queues are the outputs, by track, in the order in which they are to be stored.
	queues []*queue
	// tallies count by node what becomes of the events.
	tallies []tally
	// done is told when the step is stored; nil = nobody waits.
	done chan<- struct{}
}

// span is the part of the events of a step that came in one message.
type span struct {
	lo, hi int
	// bad is the part of step.bad.
	badLo, badHi int
	frame        bool
}

type undecodable struct {
	event.Undecodable
	m *message
}

// queue holds the outputs of one step on one track.
type queue struct {
	track   *track
	outputs []*output
	// The rest belongs to the committer.
	next     int // the first one that is not stored
	sent     int // how many are under way from next on
	attempt  uint64
	failures int
	failed   bool
	due      int64 // Unix nanoseconds of the next look
}

func newStep(nodes int, l event.Limits) *step {
	return &step{decoder: event.NewDecoder(l), tallies: make([]tally, nodes)}
}

func (s *step) reset() {
	clear(s.messages)
	clear(s.bad)
	clear(s.queues)
	s.messages, s.spans, s.events, s.bad, s.queues = s.messages[:0], s.spans[:0], s.events[:0], s.bad[:0], s.queues[:0]
	s.frames, s.bytes, s.done = 0, 0, nil
	for i := range s.tallies {
		s.tallies[i].reset()
	}
	s.decoder.Reset()
}

// add decodes m behind what is there.
func (s *step) add(m *message) {
	lo, badLo := len(s.events), len(s.bad)
	var bad []event.Undecodable
	s.events, bad = s.decoder.Decode(s.events, event.Message{
		Header: m.header, Data: m.data, Input: m.in.index, Sequence: m.seq, Time: m.stored,
	})
	for _, b := range bad {
		s.bad = append(s.bad, undecodable{b, m})
	}
	sp := span{lo: lo, hi: len(s.events), badLo: badLo, badHi: len(s.bad)}
	if sp.hi > sp.lo && s.events[lo].Form() == event.FormFrame {
		sp.frame = true
		s.frames++
	}
	s.messages = append(s.messages, m)
	s.spans = append(s.spans, sp)
	s.bytes += len(m.data)
}

// tally counts what became of the events of one step at one stage.
type tally struct {
	events, emitted, out, filtered, duplicates, deadLettered, retried int64

	reasons  []countOf
	produced []countOf
	skips    []countOf // by stream
}

// countOf is a number under a name.
type countOf struct {
	name string
	n    int64
}

func (t *tally) reset() {
	*t = tally{reasons: t.reasons[:0], produced: t.produced[:0], skips: t.skips[:0]}
}

func addTo(counts []countOf, name string, n int64) []countOf {
	if i := slices.IndexFunc(counts, func(c countOf) bool { return c.name == name }); i >= 0 {
		counts[i].n += n
		return counts
	}
	return append(counts, countOf{name, n})
}
