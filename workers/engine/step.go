package engine

import (
	"strconv"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// A step is what a lane takes through its stages at once: some messages in stream order,
// what they led to, and the acknowledgements that follow when all of that is stored. A lane
// has a few of them, which are used again and again.
type step struct {
	chain.Step
	// messages are those of the chain's step as they came.
	messages []*message
	// events is how many the messages say that they hold, bytes their size.
	events, bytes int
	queues        []queue    // what is stored of it, by Step.Pending
	trace         *stepTrace // nil = it is not traced
	// done is up to where everything is stored before anything of the step is.
	done []progress.Position
}

func newStep(nodes int) *step { return &step{Step: *chain.NewStep(nodes)} }

func (s *step) reset() {
	s.Reset()
	clear(s.messages)
	s.messages = s.messages[:0]
	s.events, s.bytes = 0, 0
	s.trace.reset()
}

// guessedBytes is what an event takes in a frame that does not say how many it holds.
const guessedBytes = 100

// add puts m behind what is there.
func (s *step) add(m *message) {
	s.messages = append(s.messages, m)
	s.Messages = append(s.Messages, chain.Message{
		Message: event.Message{Header: m.header, Data: m.data, Input: m.in.index, Sequence: m.seq, Time: m.stored},
		Stream:  m.in.cfg.Stream, Subject: m.subject,
	})
	s.bytes += len(m.data)
	n := 1
	if h := m.header[event.HeaderContentType]; len(h) == 1 && h[0] == event.ContentTypeFrame {
		s.Frames++
		n += len(m.data) / guessedBytes
	}
	if h := m.header[event.HeaderEvents]; len(h) == 1 {
		if told, err := strconv.Atoi(h[0]); err == nil && told > 0 {
			n = told
		}
	}
	s.events += n
}
