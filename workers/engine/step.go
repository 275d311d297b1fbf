package engine

import (
	"slices"
	"strconv"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// A step is what a lane takes through its stages at once: some messages in stream order,
// what they led to, and the acknowledgements that follow when all of that is stored. A lane
// has a few of them, which are used again and again.
type step struct {
	messages []*message
	// events is how many the messages say that they hold, bytes their size, frames how many of
	// them are frames.
	events, bytes, frames int
	// measures are of the messages that are processed, in the same order.
	measures []measure

	// queues are the outputs, by track, in the order in which they are to be stored.
	queues []*queue
	// later are those of the second half of a chain, until the step is through.
	later []*queue
	// tallies count by node what becomes of the events.
	tallies []tally
	trace   *stepTrace // nil = it is not traced
	// done is up to where everything is stored before anything of the step is.
	done []progress.Position
}

// measure is what is known of a message that was decoded.
type measure struct {
	events int
	// ingest is the ingest time of the first event, Unix nanoseconds; 0 = unknown.
	ingest int64
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

func newStep(nodes int) *step { return &step{tallies: make([]tally, nodes)} }

func (s *step) reset() {
	clear(s.messages)
	clear(s.queues)
	clear(s.later)
	s.later = s.later[:0]
	s.messages, s.measures, s.queues = s.messages[:0], s.measures[:0], s.queues[:0]
	s.events, s.bytes, s.frames = 0, 0, 0
	s.trace.reset()
	for i := range s.tallies {
		s.tallies[i].reset()
	}
}

// guessedBytes is what an event takes in a frame that does not say how many it holds.
const guessedBytes = 100

// add puts m behind what is there.
func (s *step) add(m *message) {
	s.messages = append(s.messages, m)
	s.bytes += len(m.data)
	n := 1
	if h := m.header[event.HeaderContentType]; len(h) == 1 && h[0] == event.ContentTypeFrame {
		s.frames++
		n += len(m.data) / guessedBytes
	}
	if h := m.header[headerEvents]; len(h) == 1 {
		if told, err := strconv.Atoi(h[0]); err == nil && told > 0 {
			n = told
		}
	}
	s.events += n
}

// tally counts what became of the events of one step at one stage.
type tally struct {
	events, emitted, out, filtered, duplicates, deadLettered, retried, late int64

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
