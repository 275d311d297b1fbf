package validate

import (
	"encoding/binary"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// dedupe tells duplicates from events that are seen for the first time.
type dedupe struct {
	window int64 // milliseconds
	claims *claims
	now    int64 // stream time in Unix milliseconds; it never goes back when a server's clock does
	buf    []byte
	// touched keeps the compiler from leaving out loads whose value nobody wants.
	touched uint32

	evicted prometheus.Counter
	entries prometheus.Gauge
}

func newDedupe(c config.Dedupe, s stage.Settings) *dedupe {
	window, limit := c.Window.D(), c.MaxEntries
	if window == 0 {
		window = defaultWindow
	}
	if limit == 0 {
		limit = defaultMaxEntries
	}
	d := &dedupe{
		window: window.Milliseconds(), claims: newClaims(s.Share(limit)),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_dedupe_evictions_total", Help: "Ids forgotten before their window was over, for lack of room (maxEntries).",
		}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_dedupe_entries", Help: "Ids remembered."}),
	}
	if s.Metrics != nil {
		s.Metrics.MustRegister(d.evicted, d.entries)
	}
	return d
}

// group is how many events are looked up at once: as many loads of the index as a core has
// under way at most, and some more.
const group = 32

// duplicates calls found with each event of b that is wanted and has the id of one before it,
// within the window. An event without an id is nobody's duplicate.
func (d *dedupe) duplicates(events []event.Event, wanted func(i int) bool, found func(i int)) {
	var ids [group][16]byte
	for lo := 0; lo < len(events); lo += group {
		part := events[lo:min(lo+group, len(events))]
		// The index is larger than the caches: all of its places are asked for before the first is
		// needed.
		for i := range part {
			ids[i] = d.hash(&part[i])
			d.touched += d.claims.touch(&ids[i])
		}
		for i := range part {
			if part[i].ID != "" && wanted(lo+i) && d.duplicate(ids[i]) {
				found(lo + i)
			}
		}
	}
}

func (d *dedupe) duplicate(id [16]byte) bool {
	if place := d.claims.find(&id); place != 0 {
		d.claims.see(place, uint32(d.now))
		return true
	}
	if d.claims.full() {
		d.claims.dropOldest()
		d.evicted.Inc()
	}
	d.claims.add(id, uint32(d.now))
	return false
}

// hash is the identity of an event: its source and id. The length of the source stands
// before them, so that no byte can move from one to the other.
func (d *dedupe) hash(e *event.Event) [16]byte {
	d.buf = append(append(binary.AppendUvarint(d.buf[:0], uint64(len(e.Source))), e.Source...), e.ID...)
	return identity(d.buf)
}

// advance moves the clock, and drops the ids whose window is over.
func (d *dedupe) advance(now time.Time) {
	d.now = max(d.now, now.UnixMilli())
	// Ages are computed modulo 2^32 ms, 49 days; the window is shorter (maxWindow).
	for d.claims.size > 0 && int64(uint32(d.now)-d.claims.at(d.claims.oldest).at) > d.window {
		d.claims.dropOldest()
	}
}
