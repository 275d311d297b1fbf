package enrich

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// enricherID indexes the enrichers in a tally.
type enricherID int

const (
	enricherKubernetes enricherID = iota
	enricherSemantic
	enricherTrace
	enricherImpact
	enrichers
)

func (id enricherID) String() string {
	return [enrichers]string{"kubernetes", "semantic", "trace", "impact"}[id]
}

// statusID indexes the statuses in a tally.
func statusID(s Status) int {
	switch s {
	case StatusOK:
		return 0
	case StatusMiss:
		return 1
	case StatusStale:
		return 2
	default:
		return 3
	}
}

// tally counts one batch, so that the counters are touched once for each.
type tally struct {
	hits, misses int
	by           [enrichers][4]int
}

func (t *tally) count(id enricherID, s Status) { t.by[id][statusID(s)]++ }

// metrics of an enrich stage.
type metrics struct {
	hits, misses prometheus.Counter
	by           [enrichers][4]prometheus.Counter
}

func newMetrics(r prometheus.Registerer, c *cache) (*metrics, error) {
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_enrich_cache_total", Help: "Look-ups in the cache of entities, by result: hit or miss.",
	}, []string{"result"})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_enrich_events_total", Help: "Events by enricher and status: ok, miss, stale or timeout.",
	}, []string{"enricher", "status"})
	entries := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_enrich_cache_entries", Help: "Entities in the cache.",
	}, func() float64 { return float64(c.entries.Len()) })
	for _, collector := range []prometheus.Collector{lookups, events, entries} {
		if err := r.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics of enrich: %w", err)
		}
	}
	m := &metrics{hits: lookups.WithLabelValues("hit"), misses: lookups.WithLabelValues("miss")}
	for id := range enrichers {
		for _, s := range []Status{StatusOK, StatusMiss, StatusStale, StatusTimeout} {
			m.by[id][statusID(s)] = events.WithLabelValues(id.String(), string(s))
		}
	}
	return m, nil
}

func (m *metrics) add(t *tally) {
	m.hits.Add(float64(t.hits))
	m.misses.Add(float64(t.misses))
	for id := range t.by {
		for s, n := range t.by[id] {
			if n > 0 {
				m.by[id][s].Add(float64(n))
			}
		}
	}
}
