package chain

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
)

// A stage with state that panics leaves part of a batch in its state. So the lane begins anew, with instances that are
// rebuilt from the input, and gives the events of that message to the stage one by one. The event that panics alone is not given
// to it again, and becomes a dead letter.

// Suspects are what a lane knows of messages that a stage with state panicked on, over all sessions.
type Suspects struct {
	some atomic.Bool // there is one
	mu   sync.Mutex
	// alone are messages whose events are given to the stages one by one; poison are events that panicked alone, by stage.
	alone  map[progress.Item]bool
	poison map[poisonous]error
	// rebuilt is when the state was whole again, the last maxRebuilds times; pending says that it is not yet.
	rebuilt []time.Time
	pending bool
}

type poisonous struct {
	node int
	item progress.Item
}

// A lane begins anew because of panics this often in rebuildSpan at most: each time costs a replay. After that what panics is a
// dead letter at once, and the state may hold a part of its message twice.
const (
	maxRebuilds = 6
	rebuildSpan = 10 * time.Minute
)

// ErrPanicked ends a session whose state cannot be trusted.
var ErrPanicked = errors.New("a stage with state panicked, and its state is rebuilt")

func messageOf(e *event.Event) progress.Item {
	return progress.Item{Input: e.Origin.Input, Seq: e.Origin.Sequence}
}

func itemOf(e *event.Event) progress.Item {
	return progress.Item{Input: e.Origin.Input, Seq: e.Origin.Sequence, Index: uint32(e.Origin.Index), Made: e.Origin.Made}
}

// add notes that a stage panicked on events of one message, and says whether the lane is to begin anew.
func (s *Suspects) add(node int, events []event.Event, err error, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rebuilt) == maxRebuilds && now.Sub(s.rebuilt[0]) < rebuildSpan {
		return false
	}
	s.rebuilt = append(s.rebuilt, now)
	s.rebuilt = s.rebuilt[max(0, len(s.rebuilt)-maxRebuilds):]
	s.pending = true
	if s.alone == nil {
		s.alone, s.poison = map[progress.Item]bool{}, map[poisonous]error{}
	}
	s.alone[messageOf(&events[0])] = true
	if len(events) == 1 {
		s.poison[poisonous{node, itemOf(&events[0])}] = err
	}
	s.some.Store(true)
	return true
}

// Rebuilt notes that the state is whole again: a replay may take longer than rebuildSpan.
func (s *Suspects) Rebuilt(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending {
		s.rebuilt[len(s.rebuilt)-1], s.pending = now, false
	}
}

// Pending says whether the state is to be made again after a panic.
func (s *Suspects) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}

// Forget drops what is known of messages: the inputs are others now.
func (s *Suspects) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone, s.poison = nil, nil
	s.some.Store(false)
}

// isAlone says whether the events of the message of e are to be given to stages one by one.
func (s *Suspects) isAlone(e *event.Event) bool {
	if !s.some.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alone[messageOf(e)]
}

// poisoned is how a stage panicked on e alone; nil = it did not.
func (s *Suspects) poisoned(node int, e *event.Event) error {
	if !s.some.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison[poisonous{node, itemOf(e)}]
}
