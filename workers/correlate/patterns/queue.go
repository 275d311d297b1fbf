package patterns

import "strings"

// queued is what waits for its time: an event, the end of an episode, or the end of an expectation.
type queued struct {
	at    int64
	order int64 // of arrival

	event *occurrence // nil: one of the following

	entity *entity
	slot   *slot // whose episode ends; nil for an expectation
	tests  bool  // the episode is tested
	late   bool  // the expectation was told of as missing, and is over
}

// occurrence is an event with memory of its own.
type occurrence struct {
	kind     *kind
	id       string
	severity int32
	keys     [Relations]string
}

func newOccurrence(e *Event, k *kind) *occurrence {
	n := len(e.ID)
	for _, key := range e.Keys {
		n += len(key)
	}
	var b strings.Builder
	b.Grow(n)
	keep := func(s string) string {
		from := b.Len()
		b.WriteString(s)
		return b.String()[from:]
	}
	o := &occurrence{kind: k, id: keep(e.ID), severity: e.Severity}
	for r, key := range e.Keys {
		o.keys[r] = keep(key)
	}
	return o
}

// queue gives what waits in the order of its times. Of what has the same time events come first, each in the order of arrival: an episode ends behind the events
// of its last moment.
type queue struct {
	heap  []queued
	order int64
}

func (q *queue) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	switch {
	case a.at != b.at:
		return a.at < b.at
	case (a.event != nil) != (b.event != nil):
		return a.event != nil
	}
	return a.order < b.order
}

func (q *queue) push(x queued) {
	q.order++
	x.order = q.order
	q.heap = append(q.heap, x)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.before(i, up) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() queued {
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap[last] = queued{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if right := down + 1; right < last && q.before(right, down) {
			down = right
		}
		if !q.before(down, i) {
			break
		}
		q.heap[i], q.heap[down] = q.heap[down], q.heap[i]
		i = down
	}
	return first
}
