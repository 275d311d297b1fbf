package lane

import (
	"strconv"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/snapshot"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/spans"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// A step is what a lane takes through its stages at once: some messages in stream order,
// what they led to, and the acknowledgements that follow when all of that is stored. A lane
// has a few of them, which are used again and again.
type step struct {
	chain.Step
	// messages are those of the chain's step as they came.
	messages []*source.Message
	// events is how many the messages say that they hold, bytes their size.
	events, bytes int
	append        track.Append // what is stored of it
	trace         *spans.Step  // nil = it is not traced
	unsaved       *unsaved     // the state behind the step; nil = no snapshot was made
	// done is up to where everything is stored before anything of the step is, reach up to where it is stored when all of it is.
	done, reach []progress.Position
	tellsAll    bool       // all outputs are to say how far the lane is
	sink        stage.Sink // which has made the rows; nil = the stage is none
}

// unsaved is a snapshot on its way.
type unsaved struct {
	snapshot.Manifest
	state []byte
	last  bool // of a lane that is given back
}

// newStep makes a step of a chain of so many stages.
func newStep(nodes int, traced *spans.Step) *step {
	s := &step{Step: *chain.NewStep(nodes), trace: traced}
	if traced != nil {
		s.Trace = traced
	}
	return s
}

func (s *step) reset() {
	s.Reset()
	clear(s.messages)
	s.messages = s.messages[:0]
	s.events, s.bytes = 0, 0
	s.unsaved, s.sink, s.tellsAll = nil, nil, false
	s.trace.Reset()
}

// guessedBytes is what an event takes in a frame that does not say how many it holds.
const guessedBytes = 100

// add puts m behind what is there.
func (s *step) add(m *source.Message) {
	s.messages = append(s.messages, m)
	s.Messages = append(s.Messages, chain.Message{
		Message: decode.Message{Header: m.Header, Data: m.Data, Input: m.Input.Index, Sequence: m.Sequence, Time: m.Time},
		Stream:  m.Input.Config.Stream, Subject: m.Input.Config.Published(m.Subject),
		Outside: !m.Input.Config.Takes(m.Stored),
	})
	s.bytes += len(m.Data)
	n := 1
	if h := m.Header[event.HeaderContentType]; len(h) == 1 && h[0] == event.ContentTypeFrame {
		s.Frames++
		n += len(m.Data) / guessedBytes
	}
	if h := m.Header[frame.HeaderEvents]; len(h) == 1 {
		if count, err := strconv.Atoi(h[0]); err == nil && count > 0 {
			n = count
		}
	}
	s.events += n
}
