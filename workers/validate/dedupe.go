package validate

import (
	"encoding/binary"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// dedupe tells duplicates from events that are seen for the first time.
type dedupe struct {
	window int64 // milliseconds
	claims *claims
	now    int64 // Unix milliseconds; it never goes back when the clock does
	buf    []byte

	evicted prometheus.Counter
	entries prometheus.Gauge
}

func newDedupe(c config.Dedupe, metrics prometheus.Registerer) *dedupe {
	window, limit := c.Window.D(), c.MaxEntries
	if window == 0 {
		window = defaultWindow
	}
	if limit == 0 {
		limit = defaultMaxEntries
	}
	d := &dedupe{
		window: window.Milliseconds(), claims: newClaims(limit),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_dedupe_evictions_total", Help: "Ids forgotten before their window was over, for lack of room (maxEntries).",
		}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_dedupe_entries", Help: "Ids remembered."}),
	}
	if metrics != nil {
		metrics.MustRegister(d.evicted, d.entries)
	}
	return d
}

// duplicate tells whether another event had the id of e within the window; if none had, e
// claims it. An event without an id is nobody's duplicate.
func (d *dedupe) duplicate(e *event.Event, now time.Time) bool {
	d.now = max(d.now, now.UnixMilli())
	d.forget()
	if e.ID == "" {
		return false
	}
	mine := claim{
		id: d.hash(e), sequence: e.Origin.Sequence, at: uint32(d.now),
		place: uint32(e.Origin.Input)<<24 | uint32(e.Origin.Index)&0xffffff,
	}
	if first := d.claims.find(mine.id); first != nil {
		return first.sequence != mine.sequence || first.place != mine.place
	}
	if d.claims.full() {
		d.claims.dropOldest()
		d.evicted.Inc()
	}
	d.claims.add(mine)
	return false
}

// hash is the identity of an event: its source and id. The length of the source stands
// before them, so that no byte can move from one to the other.
func (d *dedupe) hash(e *event.Event) xxh3.Uint128 {
	d.buf = append(append(binary.AppendUvarint(d.buf[:0], uint64(len(e.Source))), e.Source...), e.ID...)
	return xxh3.Hash128(d.buf)
}

// forget drops the ids whose window is over.
func (d *dedupe) forget() {
	// Ages are computed modulo 2^32 ms, 49 days; the window is shorter (maxWindow).
	for d.claims.size > 0 && int64(uint32(d.now)-d.claims.oldest().at) > d.window {
		d.claims.dropOldest()
	}
}
