package engine

import (
	"maps"
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/source"
)

// Snapshot is what a stage did in this worker since it was made. Events count when all they
// caused is stored.
type Snapshot struct {
	// In is Emitted + Filtered + Duplicates + Kept + DeadLettered. Kept are those that the stage keeps outside of the pipeline.
	In, Emitted, Filtered, Duplicates, Kept, DeadLettered int64
	// Out is what left on port out: received events that went on, and new ones.
	Out int64
	// Ports counts what left on ports other than out, received and new events, by port. An event that left on several counts on each.
	Ports map[string]int64
	// Dropped counts what is not stored on a port whose stream was full (config.Drop), by port. Out and Ports do not count it.
	Dropped map[string]int64
	// Produced counts new events, by port: those that were too large count as dead letters here, and not in DeadLettered.
	Produced map[string]int64
	// Skipped counts events, by port, that were not stored again: a worker that had the
	// lane before had stored them, before it could acknowledge their input.
	Skipped map[string]int64
	// DeadLetters counts dead letters by reason, of received events and new ones.
	DeadLetters map[string]int64
	// Retried counts attempts after the first.
	Retried int64
	// Late counts events that came too late for what the stage had closed by event time. They are
	// in Emitted or Filtered as well.
	Late int64
	// Overflowed is 0: no stage has an open breaker yet.
	Overflowed int64
	// P50 and P99 are milliseconds from the storing of an event in the input stream to its
	// acknowledgement, which follows the storing of all it caused. NaN-free: 0 when unknown.
	P50, P99 float64
	// EndToEndP50 and EndToEndP99 are milliseconds from the first ingest of an event, in
	// whatever stage, to its acknowledgement here; one event of each message is measured.
	EndToEndP50, EndToEndP99 float64
	// InFlightMessages and InFlightBytes are received and not acknowledged.
	InFlightMessages, InFlightBytes int
	// Lag estimates the events that are stored and not acknowledged, from what the last
	// received message told; it is exact when the stage has caught up.
	Lag int64
	// LagSeconds is how long the lane that is slowest has had something in hand without an acknowledgement.
	LagSeconds float64
	// Lanes is how many lanes this worker has.
	Lanes int
}

// latencyBins bounds the memory of a quantile sketch; its relative error is 1 %.
const latencyBins = 1024

// stats are the counters behind Snapshot and the metrics of one stage.
type stats struct {
	metrics *stageMetrics

	mu       sync.Mutex
	s        Snapshot
	latency  *ddsketch.DDSketch // milliseconds, weighted by events
	endToEnd *ddsketch.DDSketch
	// perMessage is the moving average of events per message.
	perMessage float64
}

func newStats(m *stageMetrics) (*stats, error) {
	s := &stats{metrics: m, s: Snapshot{Ports: map[string]int64{}, Dropped: map[string]int64{}, Produced: map[string]int64{}, DeadLetters: map[string]int64{}, Skipped: map[string]int64{}}}
	for _, sketch := range []**ddsketch.DDSketch{&s.latency, &s.endToEnd} {
		var err error
		if *sketch, err = ddsketch.LogCollapsingLowestDenseDDSketch(0.01, latencyBins); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// commit counts a step that is stored.
func (s *stats) commit(st *step, t *chain.Tally, head bool, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.In += t.Events
	s.s.Emitted += t.Emitted
	s.s.Out += t.Out
	s.s.Filtered += t.Filtered
	s.s.Duplicates += t.Duplicates
	s.s.Kept += t.Kept
	s.s.DeadLettered += t.DeadLettered
	s.s.Retried += t.Retried
	s.s.Late += t.Late
	for _, c := range t.Reasons {
		s.s.DeadLetters[c.Name] += c.N
		s.metrics.deadLetters.WithLabelValues(c.Name).Add(float64(c.N))
	}
	add(s.metrics.ports.WithLabelValues(config.PortOut), t.Out)
	for _, c := range t.Ports {
		s.s.Ports[c.Name] += c.N
		s.metrics.ports.WithLabelValues(c.Name).Add(float64(c.N))
	}
	for _, c := range t.Dropped {
		s.s.Dropped[c.Name] += c.N
		s.metrics.dropped.WithLabelValues(c.Name).Add(float64(c.N))
	}
	for _, c := range t.Produced {
		s.s.Produced[c.Name] += c.N
		s.metrics.produced.WithLabelValues(c.Name).Add(float64(c.N))
	}
	for _, c := range t.Skips {
		s.s.Skipped[c.Name] += c.N
		s.metrics.skipped.Add(float64(c.N))
	}
	add(s.metrics.emitted, t.Emitted)
	add(s.metrics.filtered, t.Filtered)
	add(s.metrics.duplicate, t.Duplicates)
	add(s.metrics.kept, t.Kept)
	add(s.metrics.deadLettered, t.DeadLettered)
	add(s.metrics.retried, t.Retried)
	add(s.metrics.late, t.Late)
	s.observe(st, head, now)
}

// observe measures the latency of the messages of a step. A step of many loose messages is
// measured at some of them.
func (s *stats) observe(st *step, head bool, now int64) {
	every := max(len(st.messages)/16, 1)
	for k := 0; k < len(st.messages); k += every {
		m, known := st.messages[k], st.Measures[k]
		events := float64(max(known.Events, 1))
		if head {
			if s.perMessage == 0 {
				s.perMessage = events
			}
			s.perMessage += (events - s.perMessage) / 64
		}
		_ = s.latency.AddWithCount(millis(now-m.Stored), events*float64(every)) // fails for NaN and negative values only
		if known.Ingest > 0 {
			_ = s.endToEnd.Add(millis(now - known.Ingest))
			s.metrics.latency.Observe(max(0, float64(now-known.Ingest)) / 1e9)
		}
	}
}

func (s *stats) snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.s
	out.Ports, out.Dropped, out.Produced, out.DeadLetters, out.Skipped = maps.Clone(s.s.Ports), maps.Clone(s.s.Dropped), maps.Clone(s.s.Produced), maps.Clone(s.s.DeadLetters), maps.Clone(s.s.Skipped)
	out.P50, out.P99 = quantiles(s.latency)
	out.EndToEndP50, out.EndToEndP99 = quantiles(s.endToEnd)
	return out
}

// duplicates are those of each stage of the worker that has any, as the table of leases sums them up.
func (e *Engine) duplicates() map[string]uint64 {
	all := map[string]uint64{}
	for _, n := range e.nodes {
		n.stats.mu.Lock()
		if d := n.stats.s.Duplicates; d > 0 {
			all[n.cfg.Stage] = uint64(d)
		}
		n.stats.mu.Unlock()
	}
	return all
}

func quantiles(sketch *ddsketch.DDSketch) (p50, p99 float64) {
	if sketch.IsEmpty() {
		return 0, 0
	}
	v, err := sketch.GetValuesAtQuantiles([]float64{0.5, 0.99})
	if err != nil {
		return 0, 0
	}
	return v[0], v[1]
}

func add(c interface{ Add(float64) }, n int64) {
	if n > 0 {
		c.Add(float64(n))
	}
}

func millis(ns int64) float64 { return max(0, float64(ns)/1e6) }

// Stats returns what the first stage of the worker did so far. It is cheap enough to ask
// several times a second.
func (e *Engine) Stats() Snapshot { return e.snapshot(e.nodes[0]) }

// StatsOf returns what a stage of the worker did so far, by its name; false when there is none.
func (e *Engine) StatsOf(name string) (Snapshot, bool) {
	for _, n := range e.nodes {
		if n.cfg.Stage == name {
			return e.snapshot(n), true
		}
	}
	return Snapshot{}, false
}

func (e *Engine) snapshot(n *node) Snapshot {
	out := n.stats.snapshot()
	inHand, pending, lanes := e.inHand()
	out.InFlightMessages, out.InFlightBytes, out.Lanes = inHand.Messages, inHand.Bytes, lanes
	now := e.now()
	for _, l := range e.allLanes() {
		out.LagSeconds = max(out.LagSeconds, l.waited(now).Seconds())
	}
	e.nodes[0].stats.mu.Lock()
	perMessage := max(e.nodes[0].stats.perMessage, 1)
	e.nodes[0].stats.mu.Unlock()
	out.Lag = int64(perMessage*float64(pending+uint64(inHand.Messages)) + 0.5)
	return out
}

// waited is how long a lane has had messages of an input in hand without an acknowledgement.
func (l *lane) waited(now time.Time) (longest time.Duration) {
	session := l.current.Load()
	if session == nil {
		return 0
	}
	for _, in := range session.inputs {
		if s := in.State(); s.InHand.Messages > 0 {
			longest = max(longest, now.Sub(time.Unix(0, s.Since)))
		}
	}
	return longest
}

// inHand sums what the lanes have in hand, and the messages behind it.
func (e *Engine) inHand() (sum source.Amount, pending uint64, lanes int) {
	for _, inputs := range e.allInputs() {
		lanes++
		for _, in := range inputs {
			s := in.State()
			sum.Messages += s.InHand.Messages
			sum.Bytes += s.InHand.Bytes
			pending += s.Pending
		}
	}
	return sum, pending, lanes
}
