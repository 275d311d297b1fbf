package generator

import (
	"cmp"
	"math"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// period is how often a series is sampled, but the one with the spike: an anomaly shows in a series that has been known for some hundred values.
const (
	period      = 10 * time.Second
	spikePeriod = time.Second
)

const (
	memoryMetric  = "k8s.pod.memory.working_set"
	latencyMetric = "http.server.request.duration.p95"
)

// series is one series of a metric; value says what it is at a second of the story.
type series struct {
	about      *eventv1.EntityRef
	name, unit string
	limit      float64
	value      func(second float64) float64
	every      time.Duration // 0 = period
}

func (s *series) period() time.Duration { return cmp.Or(s.every, period) }

// metrics adds samples, about budget of them. The series of incidents come first, then
// latencies, then memory and CPU of as many pods as there is room for.
func (s *script) metrics(budget int) {
	all := s.incidentSeries()
	must := len(all)
	for _, w := range s.cluster.workloads {
		if w.port != 0 && w.name != "ledger" {
			all = append(all, s.latency(w))
		}
	}
	for _, p := range s.steadyInTurns() {
		all = append(all, s.memory(p), s.cpu(p))
	}
	for i, one := range all {
		every := one.period()
		samples := int(Length / every)
		if budget -= samples; budget < 0 && i >= must {
			return
		}
		phase := s.r.Float64() * every.Seconds()
		for n := range samples {
			second := phase + float64(n)*every.Seconds()
			s.sample(s.at(second), one.about, one.name, one.unit, one.value(second), one.limit)
		}
	}
}

// steadyInTurns are pods that nothing happens to, one of each workload in turns.
func (s *script) steadyInTurns() (pods []*pod) {
	for i := 0; ; i++ {
		before := len(pods)
		for _, w := range s.cluster.workloads {
			if w.name == "cart" || i >= len(w.pods) {
				continue
			}
			if p := w.pods[i]; p.created.Before(s.start) && p.deleting.IsZero() && p.restarts == 0 {
				pods = append(pods, p)
			}
		}
		if len(pods) == before && i > 60 {
			return pods
		}
	}
}

func (s *script) latency(w *workload) series {
	return series{about: w.ref(), name: latencyMetric, unit: "ms", value: func(float64) float64 {
		return round(w.latency * (1 + 0.15*s.noise()))
	}}
}

func (s *script) memory(p *pod) series {
	base := p.of.memory * (1 + 0.1*s.noise())
	return series{about: p.ref(), name: memoryMetric, unit: "By", limit: p.of.memoryLimit, value: func(float64) float64 {
		return math.Round(base * (1 + 0.03*s.noise()))
	}}
}

func (s *script) cpu(p *pod) series {
	base := p.of.cpu * (1 + 0.1*s.noise())
	return series{about: p.ref(), name: "k8s.pod.cpu.usage", unit: "{cpu}", value: func(float64) float64 {
		return round(base * (1 + 0.25*s.noise()))
	}}
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
