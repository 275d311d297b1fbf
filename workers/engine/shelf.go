package engine

// shelf holds the messages in hand of one input, longest untouched first. It is guarded
// by the lock of the input.
type shelf struct {
	bySeq       map[uint64]*message
	first, last *message
	bytes       int
}

func (s *shelf) len() int { return len(s.bySeq) }

func (s *shelf) add(m *message) {
	s.bySeq[m.seq] = m
	s.bytes += m.size
	s.pushBack(m)
}

func (s *shelf) remove(m *message) {
	delete(s.bySeq, m.seq)
	s.bytes -= m.size
	s.unlink(m)
}

// touch notes a sign of life at now.
func (s *shelf) touch(m *message, now int64) {
	m.touched = now
	s.unlink(m)
	s.pushBack(m)
}

func (s *shelf) pushBack(m *message) {
	m.prev, m.next = s.last, nil
	if s.last != nil {
		s.last.next = m
	} else {
		s.first = m
	}
	s.last = m
}

func (s *shelf) unlink(m *message) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		s.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		s.last = m.prev
	}
	m.prev, m.next = nil, nil
}
