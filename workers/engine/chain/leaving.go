package chain

import "millrace.dev/millrace/workers/event"

// leaving collects what leaves a node for those that are chained to it. While that is all that came, it copies nothing.
type leaving struct {
	events, next []event.Event
	copied       bool
}

// take takes event i, unless it stays.
func (s *leaving) take(i int, leaves bool) {
	switch {
	case leaves && s.copied:
		s.next = append(s.next, s.events[i])
	case !leaves:
		s.copy(i)
	}
}

// add takes new events behind the first n.
func (s *leaving) add(n int, made []event.Event) {
	if len(made) > 0 {
		s.copy(n)
		s.next = append(s.next, made...)
	}
}

// copy begins to copy, with the first n events.
func (s *leaving) copy(n int) {
	if !s.copied {
		s.copied = true
		s.next = append(s.next, s.events[:n]...)
	}
}

func (s *leaving) all() []event.Event {
	if s.copied {
		return s.next
	}
	return s.events
}
