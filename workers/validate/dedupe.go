package validate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// dedupe remembers ids: a map from the hash of an id to the origin that claimed it, and a
// queue of the hashes in the order of their arrival, to forget them by. Neither holds
// pointers, so the garbage collector does not walk them.
type dedupe struct {
	window time.Duration
	limit  int
	claims map[xxh3.Uint128]claim
	queue  queue
	buf    []byte

	evicted prometheus.Counter
	entries prometheus.Gauge
}

// claim is the origin that first had an id.
type claim struct {
	sequence uint64
	// place is the input (high byte) and the index in the message.
	place uint32
}

func newDedupe(c config.Dedupe, metrics prometheus.Registerer) *dedupe {
	d := &dedupe{
		window: c.Window.D(), limit: c.MaxEntries, claims: map[xxh3.Uint128]claim{},
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_dedupe_evictions_total", Help: "Ids forgotten before their window was over, for lack of room (maxEntries).",
		}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_dedupe_entries", Help: "Ids remembered."}),
	}
	if d.window <= 0 {
		d.window = defaultWindow
	}
	if d.limit <= 0 {
		d.limit = defaultMaxEntries
	}
	if metrics != nil {
		metrics.MustRegister(d.evicted, d.entries)
	}
	return d
}

// duplicate tells whether another event had the id of e within the window; if none had, e
// claims it.
func (d *dedupe) duplicate(e *event.Event, now time.Time) bool {
	at := now.UnixMilli()
	d.forget(at - d.window.Milliseconds())
	id := d.hash(e)
	mine := claim{e.Origin.Sequence, uint32(e.Origin.Input)<<24 | uint32(e.Origin.Index)&0xffffff}
	if first, ok := d.claims[id]; ok {
		return first != mine
	}
	if len(d.claims) >= d.limit {
		delete(d.claims, d.queue.pop().id)
		d.evicted.Inc()
	}
	d.claims[id] = mine
	d.queue.push(arrival{id, at})
	return false
}

// hash is the identity of an event: its source and id, with a byte between them that
// neither holds.
func (d *dedupe) hash(e *event.Event) xxh3.Uint128 {
	d.buf = append(append(append(d.buf[:0], e.Source...), 0), e.ID...)
	return xxh3.Hash128(d.buf)
}

// forget drops what arrived before a time, in Unix milliseconds.
func (d *dedupe) forget(before int64) {
	for d.queue.size > 0 && d.queue.oldest().at < before {
		delete(d.claims, d.queue.pop().id)
	}
}

// queue is a ring that grows.
type queue struct {
	ring []arrival // its length is 0 or a power of two
	head int
	size int
}

type arrival struct {
	id xxh3.Uint128
	at int64 // Unix milliseconds
}

func (q *queue) oldest() arrival { return q.ring[q.head] }

func (q *queue) pop() arrival {
	a := q.ring[q.head]
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.size--
	return a
}

func (q *queue) push(a arrival) {
	if q.size == len(q.ring) {
		grown := make([]arrival, max(1024, 2*len(q.ring)))
		n := copy(grown, q.ring[q.head:])
		copy(grown[n:], q.ring[:q.head])
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.size)&(len(q.ring)-1)] = a
	q.size++
}
