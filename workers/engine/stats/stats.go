package stats

import (
	"fmt"
	"maps"
	"sync"

	"github.com/DataDog/sketches-go/ddsketch"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
)

// Snapshot is what a stage did in this worker since it was made. Events count when all they
// caused is stored.
type Snapshot struct {
	// In is Emitted + Filtered + Duplicates + Kept + DeadLettered + Overflowed. Kept are those that the stage keeps outside of the pipeline.
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
	// Overflowed are events that were sent to port overflow; they come again, and count in In again.
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
	// InOverflow estimates the events that wait in the overflow; they are in Lag as well.
	InOverflow int64
	// LagSeconds is how long the lane that is slowest has had something in hand without an acknowledgement.
	LagSeconds float64
	// Lanes is how many lanes this worker has.
	Lanes int
}

// latencyBins bounds the memory of a quantile sketch; its relative error is 1 %.
const latencyBins = 1024

// Counters are what is behind Snapshot and the metrics of one stage. They may be used by several goroutines.
type Counters struct {
	metrics *Stage

	mu       sync.Mutex
	s        Snapshot
	latency  *ddsketch.DDSketch // milliseconds, weighted by events
	endToEnd *ddsketch.DDSketch
	// perMessage is the moving average of events per message.
	perMessage float64
}

// New makes counters that feed m.
func New(m *Stage) (*Counters, error) {
	s := &Counters{metrics: m, s: Snapshot{Ports: map[string]int64{}, Dropped: map[string]int64{}, Produced: map[string]int64{}, DeadLetters: map[string]int64{}, Skipped: map[string]int64{}}}
	for _, sketch := range []**ddsketch.DDSketch{&s.latency, &s.endToEnd} {
		var err error
		if *sketch, err = ddsketch.LogCollapsingLowestDenseDDSketch(0.01, latencyBins); err != nil {
			return nil, fmt.Errorf("make latency sketch: %w", err)
		}
	}
	return s, nil
}

// Commit counts a step that is stored at now, Unix nanoseconds: what became of its events at the stage, whose number in the chain is node.
func (s *Counters) Commit(of *chain.Step, node int, now int64) {
	t := &of.Tallies[node]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.In += t.Events
	s.s.Emitted += t.Emitted
	s.s.Out += t.Out
	s.s.Filtered += t.Filtered
	s.s.Duplicates += t.Duplicates
	s.s.Kept += t.Kept
	s.s.DeadLettered += t.DeadLettered
	s.s.Overflowed += t.Overflowed
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
	add(s.metrics.overflowed, t.Overflowed)
	add(s.metrics.retried, t.Retried)
	add(s.metrics.late, t.Late)
	s.observe(of, node == 0, now)
}

// observe measures the latency of the messages of a step. A step of many loose messages is
// measured at some of them.
func (s *Counters) observe(of *chain.Step, head bool, now int64) {
	every := max(len(of.Messages)/16, 1)
	for k := 0; k < len(of.Messages); k += every {
		m, known := &of.Messages[k], of.Measures[k]
		if known.Marker {
			continue
		}
		events := float64(max(known.Events, 1))
		if head {
			if s.perMessage == 0 {
				s.perMessage = events
			}
			s.perMessage += (events - s.perMessage) / 64
		}
		_ = s.latency.AddWithCount(millis(now-m.Time), events*float64(every)) // fails for NaN and negative values only
		if known.Ingest > 0 {
			_ = s.endToEnd.Add(millis(now - known.Ingest))
			s.metrics.latency.Observe(max(0, float64(now-known.Ingest)) / 1e9)
		}
	}
}

// Snapshot is what was counted so far.
func (s *Counters) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.s
	out.Ports, out.Dropped, out.Produced, out.DeadLetters, out.Skipped = maps.Clone(s.s.Ports), maps.Clone(s.s.Dropped), maps.Clone(s.s.Produced), maps.Clone(s.s.DeadLetters), maps.Clone(s.s.Skipped)
	out.P50, out.P99 = quantiles(s.latency)
	out.EndToEndP50, out.EndToEndP99 = quantiles(s.endToEnd)
	return out
}

// Duplicates is how many there were so far.
func (s *Counters) Duplicates() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Duplicates
}

// PerMessage is how many events a message of the input has, of late.
func (s *Counters) PerMessage() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.perMessage, 1)
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
