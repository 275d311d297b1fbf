package correlate

import (
	"cmp"
	"math"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// watermark tells how far event time has come. The events of one partition are in order, those of
// several are not: a backlog is read one partition after another, so the slowest partition counts. A partition
// that sends nothing for as long as silence, in stream time, does not count until it sends again. At the
// start, and after a pause of all, every partition is waited for that long.
//
// Where the lanes of the stage before write to all partitions, each pair of partition and lane has a clock, from its first message on.
// A lane that keeps keys writes one pair only, so each lane is waited for, by any of its pairs.
//
// An event is late by the clock of its own source, never by that of another: a host whose clock is
// behind is in order, too.
type watermark struct {
	silence    int64
	partitions int        // whose clocks are expected, of each input
	inputs     [][]writer // by number of the input, and of the partition or lane; an input is unknown before its first message
	begun      int64      // the stream time since when all partitions are expected
	sources    *simplelru.LRU[string, *clock]
	key        []byte
}

// writer has the clocks of what one lane of the stage before writes: those of its pairs of partition and lane, or that of its
// partition. They are in the order of their numbers. The engine
// makes no more of them than there are partitions.
type writer []partitionClock

// partitionClock is the clock of a partition, or of a pair of partition and lane.
type partitionClock struct {
	partition int // Batch.Partition
	clock
}

// find returns where the clock of a partition is, or belongs.
func (w writer) find(partition int) (at int, ok bool) {
	return slices.BinarySearchFunc(w, partition, func(c partitionClock, p int) int { return cmp.Compare(c.partition, p) })
}

// noTime is before all event times, by more than any lateness.
const noTime = math.MinInt64 / 2

// maxSources bounds the clocks of sources, which are counted in each partition. The one that sent
// nothing for longest is forgotten first, and begins anew.
const maxSources = 16_384

func newWatermark(silence int64, s stage.Settings) watermark {
	w := watermark{silence: silence, partitions: 1}
	if s.Lanes <= 1 { // a lane among others reads its own partition
		w.partitions = max(s.Config.Partitions, 1)
	}
	w.sources, _ = simplelru.NewLRU[string, *clock](maxSources, nil) // the size is positive
	return w
}

// message moves the clock of the partition of a message: by the last of its events that windows take, since those of a
// partition are in order. Other events do not count: a takeover does not decode them.
func (w *watermark) message(b *stage.Batch, e *event.Event) {
	w.reached(b, e.Origin.Input, eventTime(e))
}

// reached moves the clock of the partition of a message to a time.
func (w *watermark) reached(b *stage.Batch, input int, at int64) {
	now := b.Now.UnixNano()
	if w.quiet(now) {
		w.begun = now
	}
	partition := max(b.Partition, 0)
	for len(w.inputs) <= input {
		w.inputs = append(w.inputs, nil)
	}
	expected := 1
	if b.Partition >= 0 {
		expected = w.partitions
	}
	for len(w.inputs[input]) < expected {
		w.inputs[input] = append(w.inputs[input], nil)
	}
	lane := &w.inputs[input][partition%w.partitions]
	i, ok := lane.find(partition)
	if !ok {
		*lane = slices.Insert(*lane, i, partitionClock{partition, clock{silence: w.silence}})
	}
	(*lane)[i].see(at, now)
}

// quiet says whether no partition has sent anything for as long as silence.
func (w *watermark) quiet(now int64) bool {
	for _, lanes := range w.inputs {
		for _, lane := range lanes {
			for i := range lane {
				if c := &lane[i]; c.latest != 0 && !c.silent(now) {
					return false
				}
			}
		}
	}
	return true
}

// at is the event time that all partitions have reached; noTime while some are waited for.
func (w *watermark) at(now int64) int64 {
	reached, waiting := int64(math.MaxInt64), now-w.begun <= w.silence
	for _, lanes := range w.inputs {
		for _, lane := range lanes {
			if waiting && len(lane) == 0 {
				return noTime
			}
			for i := range lane {
				switch c := &lane[i]; {
				case c.latest != 0 && !c.silent(now):
					reached = min(reached, c.latest)
				case waiting:
					return noTime
				}
			}
		}
	}
	return reached
}

// ofPartition is what the clock of the partition of a message showed before it; noTime = nothing.
func (w *watermark) ofPartition(b *stage.Batch, e *event.Event) int64 {
	input, partition := e.Origin.Input, max(b.Partition, 0)
	if input >= len(w.inputs) || partition%w.partitions >= len(w.inputs[input]) {
		return noTime
	}
	lane := w.inputs[input][partition%w.partitions]
	at, ok := lane.find(partition)
	if !ok {
		return noTime
	}
	c := &lane[at]
	if c.latest == 0 || c.silent(b.Now.UnixNano()) {
		return noTime
	}
	return c.latest
}

// source moves the clock of the source of an event. It returns the time that the event counts for, and what the
// clock shows.
func (w *watermark) source(b *stage.Batch, e *event.Event, o *observation) (at, latest int64) {
	host, _ := e.Resource("host.name")
	w.key = append(w.key[:0], byte(e.Origin.Input), byte(b.Partition), byte(b.Partition>>8))
	for _, part := range [...]string{o.source, o.keys[sameNode], host} {
		w.key = append(append(w.key, part...), 0)
	}
	c, ok := w.sources.Get(string(w.key))
	if !ok {
		c = &clock{silence: w.silence}
		w.sources.Add(string(w.key), c)
	}
	at, _ = c.see(o.time, o.seen)
	return at, c.latest
}
