package validate

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
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
	clocks []int64 // of each input: stream time in Unix milliseconds
	now    int64   // that of the input that is furthest
	buf    []byte
	// seed is another one in each instance: whose state is rebuilt sees the ids again.
	seed uint64
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
		window: window.Milliseconds(), claims: newClaims(s.Share(limit)), seed: rand.Uint64(),
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

// mark ends the events among the valid ones of b that have the id of one before it within the
// window. An event without an id is nobody's duplicate.
func (d *dedupe) mark(b *stage.Batch) {
	var ids [group][16]byte
	for lo := 0; lo < len(b.Events); lo += group {
		part := b.Events[lo:min(lo+group, len(b.Events))]
		for i := range part {
			ids[i] = d.hash(&part[i])
		}
		// The index is larger than the caches: all of its places are asked for before the first is
		// needed, with nothing between that would keep a core from asking.
		for i := range part {
			d.touched += d.claims.touch(&ids[i])
		}
		for i := range part {
			if part[i].ID != "" && b.Decision(lo+i).Verdict == stage.Emit && d.duplicate(&ids[i]) {
				b.Duplicate(lo + i)
			}
		}
	}
}

func (d *dedupe) duplicate(id *[16]byte) bool {
	if place := d.claims.find(id); place != 0 {
		d.claims.see(place, uint32(d.now))
		return true
	}
	if d.claims.full() {
		d.claims.dropOldest()
		d.evicted.Inc()
	}
	d.claims.add(*id, uint32(d.now))
	return false
}

// hash is the identity of an event: its source and id. The length of the source stands
// before them, so that no byte can move from one to the other.
func (d *dedupe) hash(e *event.Event) [16]byte {
	d.buf = append(append(binary.AppendUvarint(d.buf[:0], uint64(len(e.Source))), e.Source...), e.ID...)
	return identity(d.buf, d.seed)
}

// slack is by how many milliseconds stream time may go back and is taken to stand still. Horizon has
// it on top, so that what stood still is the same for who is rebuilt.
const slack = 1000

// advance moves the clock of an input, and drops the ids whose window is over.
//
// Within an input, time goes back by more than the slack when a server's clock was set: then the
// clock of before was wrong, and is not waited for. An input that lags behind another has its own.
func (d *dedupe) advance(input int, at time.Time) {
	for len(d.clocks) <= input {
		d.clocks = append(d.clocks, 0)
	}
	if now, clock := at.UnixMilli(), &d.clocks[input]; now > *clock || now < *clock-slack {
		*clock = now
	}
	before := d.now
	if d.now = slices.Max(d.clocks); d.now < before {
		d.claims.setBack(uint32(before), uint32(d.now), before-d.now)
	}
	// Ages are computed modulo 2^32 ms, 49 days. The window is shorter (maxWindow), but without input an
	// id may become older than that.
	idle := d.now-before > d.window
	for n := 0; d.claims.size > 0 && (idle || int64(uint32(d.now)-d.claims.at(d.claims.oldest).at) > d.window); n++ {
		if n%group == 0 {
			d.touched += d.claims.touchOldest(group)
		}
		d.claims.dropOldest()
	}
}
