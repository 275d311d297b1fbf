package track

import (
	"slices"
	"strings"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
)

// Append is what one step of a lane appends, to several tracks. It is used again and again.
type Append struct {
	queues []queue
	done   []progress.Position
	since  map[*Track]uint64 // where the step began on tracks that it has been appended to already
}

// queue holds the records of one step on one track.
type queue struct {
	track    *Track
	records  []Record
	next     int    // the first one that is not stored
	sent     int    // how many are under way from next on
	since    uint64 // the last message on the track that is not of the step
	attempt  uint64
	dropped  int  // events that are left out
	silent   bool // a record without events is left out
	failures int
	failed   bool
	due      int64 // Unix nanoseconds of the next look
}

// Reset begins an append of a step before which everything is stored up to done.
func (a *Append) Reset(done []progress.Position) { a.queues, a.done, a.since = a.queues[:0], done, nil }

// More begins another append of the same step, when the one before is stored.
func (a *Append) More() {
	if a.since == nil {
		a.since = map[*Track]uint64{}
	}
	for i := range a.queues {
		if q := &a.queues[i]; len(q.records) > 0 {
			if _, ok := a.since[q.track]; !ok {
				a.since[q.track] = q.since
			}
		}
	}
	a.queues = a.queues[:0]
}

// Add returns n records to be appended to t, in the memory of an earlier step. Each track is added once.
func (a *Append) Add(t *Track, n int) []Record {
	k := len(a.queues)
	a.queues = slices.Grow(a.queues, 1)[:k+1]
	q := &a.queues[k]
	*q = queue{track: t, records: slices.Grow(q.records[:0], n)[:n]}
	return q.records
}

// Dropped yields, since Reset or More, the tracks whose stream was full, and how many events are left out there; 0 = a record without events is.
func (a *Append) Dropped(yield func(t *Track, events int) bool) {
	for i := range a.queues {
		if q := &a.queues[i]; (q.dropped > 0 || q.silent) && !yield(q.track, q.dropped) {
			return
		}
	}
}

// keepRecords is how many records a queue that is used again may have room for.
const keepRecords = 1024

// Forget lets go of what a holds.
func (a *Append) Forget() {
	all := a.queues[:cap(a.queues)] // those of an append before this one, too
	for i := range all {
		q := &all[i]
		clear(q.records)
		if cap(q.records) > keepRecords {
			q.records = nil
		}
	}
}

// headers adds the headers that say who wrote the records of q, and where in the input they are from.
func (l *Log) headers(a *Append, q *queue) {
	since, before := a.since[q.track]
	if !before {
		since = l.since(q.track, a.done)
	}
	q.since = since
	for i := range q.records {
		l.header(a, q.track, &q.records[i], since)
	}
}

func (l *Log) header(a *Append, t *Track, o *Record, since uint64) {
	h := o.Message.Header
	h[headerOwner] = []string{l.owner}
	h[HeaderPosition] = []string{string(progress.AppendReach(nil, l.places, o.Reach))}
	o.number = l.nextAttempt()
	of := progress.Output{Number: o.number, Since: since, Items: o.Items, Ports: t.Ports, Done: a.done}
	h[headerStep] = []string{string(of.Append(nil, l.places))}
}

// HeaderRoom is the room for the headers that are added when a message is published: each input has its name and the
// identity of its stream three times in them, and two positions; and the ports of the stage their names. tells says that outputs
// say how far they are.
func HeaderRoom(inputs []config.Input, ports []string, tells bool) int {
	room := 512 + len(strings.Join(ports, ","))
	if tells {
		room += maxMark
	}
	for _, in := range inputs {
		room += 3*(len(in.From)+maxIdentity) + 2*maxPosition
	}
	return room
}

const (
	maxIdentity = 64 // of a stream, with what stands around it
	maxPosition = 52 // three numbers, with what stands around them
	maxMark     = 96 // three times of up to 19 digits, with the name of the header
)
