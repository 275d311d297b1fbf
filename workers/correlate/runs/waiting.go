package runs

import "time"

// waitFor is how long what is known of a span waits for the span.
const waitFor = int64(30 * time.Second)

// waitingSpan is what is known of a span that has not been counted yet.
type waitingSpan struct {
	id   uint64
	born int64
	// said are the statements of the span and of the internal spans below it, in order.
	said []*statement
	// marks are the services below that were odd.
	marks []*Service
	// remote are nanoseconds in calls.
	remote int64
	// callee is who handled the call, for calleeNs nanoseconds; nil = not known.
	callee   *Service
	calleeNs int64

	before, after int32 // in the order of their birth; -1 = none
}

// waitingSpans finds them by span id. The memory of those that are gone is used again.
type waitingSpans struct {
	at          map[uint64]int32
	all         []waitingSpan
	free        []int32
	first, last int32
	n           int
}

func (w *waitingSpans) reset() { *w = waitingSpans{at: map[uint64]int32{}, first: -1, last: -1} }

// find returns the index of a span, or -1.
func (w *waitingSpans) find(id uint64) int32 {
	if i, ok := w.at[id]; ok {
		return i
	}
	return -1
}

// get returns a span, which is new where it was not known. The pointer is good until the next get.
func (w *waitingSpans) get(id uint64, now int64, limit int, counts *Counts) *waitingSpan {
	if i, ok := w.at[id]; ok {
		return &w.all[i]
	}
	for w.n >= limit {
		w.drop(w.first)
		counts.Waiting++
	}
	var i int32
	if n := len(w.free); n > 0 {
		i = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		i = int32(len(w.all))
		w.all = append(w.all, waitingSpan{})
	}
	s := &w.all[i]
	s.id, s.born, s.before, s.after = id, now, w.last, -1
	if w.last >= 0 {
		w.all[w.last].after = i
	} else {
		w.first = i
	}
	w.last = i
	w.at[id] = i
	w.n++
	return s
}

// drop forgets a span; its memory stays for the next one.
func (w *waitingSpans) drop(i int32) {
	s := &w.all[i]
	delete(w.at, s.id)
	if s.before >= 0 {
		w.all[s.before].after = s.after
	} else {
		w.first = s.after
	}
	if s.after >= 0 {
		w.all[s.after].before = s.before
	} else {
		w.last = s.before
	}
	clear(s.said)
	clear(s.marks)
	*s = waitingSpan{said: s.said[:0], marks: s.marks[:0]}
	w.free = append(w.free, i)
	w.n--
}

// expire forgets the spans that were born before a time.
func (w *waitingSpans) expire(before int64, counts *Counts) {
	for w.first >= 0 && w.all[w.first].born < before {
		w.drop(w.first)
	}
}

func (s *waitingSpan) say(st *statement) {
	if len(s.said) >= maxSaid || s.says(st) {
		return
	}
	s.said = append(s.said, st)
}

func (s *waitingSpan) says(st *statement) bool {
	for _, have := range s.said {
		if have == st {
			return true
		}
	}
	return false
}

// maxMarks bounds the services that one run blames.
const maxMarks = 8

func (s *waitingSpan) mark(by *Service) {
	for _, have := range s.marks {
		if have == by {
			return
		}
	}
	if len(s.marks) < maxMarks {
		s.marks = append(s.marks, by)
	}
}
