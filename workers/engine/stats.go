package engine

import (
	"maps"
	"sync"

	"github.com/DataDog/sketches-go/ddsketch"

	"millrace.dev/millrace/workers/config"
)

// Snapshot is what an engine did since it was made. Events count when the message that
// they came in is acknowledged.
type Snapshot struct {
	// In is Emitted + Filtered + Duplicates + DeadLettered.
	In, Emitted, Filtered, Duplicates, DeadLettered int64
	// Out is what was stored on port out: received events that went on, and new ones.
	Out int64
	// Produced counts new events that are stored, by port.
	Produced map[string]int64
	// AlreadyStored counts received events, by output stream, that the stream said at their first
	// publish to have already: stored by a worker that died before it acknowledged their input.
	AlreadyStored map[string]int64
	// DeadLetters splits DeadLettered by reason.
	DeadLetters map[string]int64
	// Retried counts attempts after the first.
	Retried int64
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
	// InFlightFrames are published and not confirmed.
	InFlightFrames int
	// Lag estimates the events that are stored and not acknowledged, from what the last
	// received message told; it is exact when the stage has caught up.
	Lag int64
	// LagSeconds is the age of the oldest message in hand.
	LagSeconds float64
}

// latencyBins bounds the memory of a quantile sketch; its relative error is 1 %.
const latencyBins = 1024

// stats are the counters behind Snapshot and the metrics.
type stats struct {
	metrics *stageMetrics

	mu       sync.Mutex
	s        Snapshot
	latency  *ddsketch.DDSketch // milliseconds, weighted by events
	endToEnd *ddsketch.DDSketch
	// perMessage is the moving average of events per message.
	perMessage float64
	progress   int64
}

func newStats(m *stageMetrics) (*stats, error) {
	s := &stats{metrics: m, s: Snapshot{Produced: map[string]int64{}, DeadLetters: map[string]int64{}, AlreadyStored: map[string]int64{}}}
	for _, sketch := range []**ddsketch.DDSketch{&s.latency, &s.endToEnd} {
		var err error
		if *sketch, err = ddsketch.LogCollapsingLowestDenseDDSketch(0.01, latencyBins); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// commit counts an acknowledged message.
func (s *stats) commit(m *message, now int64) {
	t := &m.tally
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = now
	s.s.In += t.events
	s.s.Emitted += t.emitted
	s.s.Out += t.out
	s.s.Filtered += t.filtered
	s.s.Duplicates += t.duplicates
	s.s.DeadLettered += t.deadLettered
	for _, r := range t.reasons {
		s.s.DeadLetters[r.reason] += r.n
		s.metrics.deadLetters.WithLabelValues(r.reason).Add(float64(r.n))
	}
	add(s.metrics.emitted, t.emitted)
	add(s.metrics.filtered, t.filtered)
	add(s.metrics.duplicate, t.duplicates)
	add(s.metrics.deadLettered, t.deadLettered)
	s.observe(m, now)
}

func (s *stats) observe(m *message, now int64) {
	events := float64(max(m.tally.events, 1))
	if s.perMessage == 0 {
		s.perMessage = events
	}
	s.perMessage += (events - s.perMessage) / 64
	_ = s.latency.AddWithCount(millis(now-m.stored), events) // fails for NaN and negative values only
	if m.ingest > 0 {
		_ = s.endToEnd.Add(millis(now - m.ingest))
		s.metrics.latency.Observe(max(0, float64(now-m.ingest)) / 1e9)
	}
}

// stored counts an output of new events that is stored.
func (s *stats) stored(o *output, duplicate bool) {
	if duplicate {
		if o.sent == 1 && o.produced == "" {
			s.mu.Lock()
			s.s.AlreadyStored[o.stream] += int64(o.events)
			s.mu.Unlock()
		}
		return
	}
	if o.produced == "" {
		return
	}
	s.metrics.produced.WithLabelValues(o.produced).Add(float64(o.events))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Produced[o.produced] += int64(o.events)
	if o.produced == config.PortOut {
		s.s.Out += int64(o.events)
	}
}

func (s *stats) retried(n int) {
	add(s.metrics.retried, int64(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Retried += int64(n)
}

func (s *stats) snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.s
	out.Produced, out.DeadLetters, out.AlreadyStored = maps.Clone(s.s.Produced), maps.Clone(s.s.DeadLetters), maps.Clone(s.s.AlreadyStored)
	out.P50, out.P99 = quantiles(s.latency)
	out.EndToEndP50, out.EndToEndP99 = quantiles(s.endToEnd)
	return out
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

// Stats returns what the engine did so far. It is cheap enough to ask several times a second.
func (e *Engine) Stats() Snapshot {
	out := e.stats.snapshot()
	now := e.now().UnixNano()
	var pending uint64
	for _, in := range e.inputs {
		in.mu.Lock()
		out.InFlightMessages += in.shelf.len()
		out.InFlightBytes += in.shelf.bytes
		pending += in.pending
		for m := in.shelf.first; m != nil; m = m.next {
			out.LagSeconds = max(out.LagSeconds, float64(now-m.stored)/1e9)
		}
		in.mu.Unlock()
	}
	out.InFlightFrames = e.pub.outstanding()
	e.stats.mu.Lock()
	perMessage := max(e.stats.perMessage, 1)
	e.stats.mu.Unlock()
	out.Lag = int64(perMessage*float64(pending+uint64(out.InFlightMessages)) + 0.5)
	return out
}
