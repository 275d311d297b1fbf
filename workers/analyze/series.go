package analyze

import (
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/event"
)

// series is what is remembered of one entity and metric.
type series struct {
	detector detector
	points   points
	// direction of the trend that was told last: 1, -1, or 0 for none.
	direction int8
	near      int64 // the span in which its limit was near last; 0 = never
}

// nears takes down that the limit is near, and says whether it was not for as long as the window: an estimate
// that goes to and fro across the hour is told once. What was before that does not count, as a rebuilt
// instance would not know it.
func (s *series) nears() bool {
	before := s.near
	s.near = s.points.span
	return before == 0 || s.near-before > maxPoints
}

// store finds series by key and forgets the least recently used.
type store struct {
	lru     *simplelru.LRU[xxh3.Uint128, *series]
	buf     []byte
	evicted prometheus.Counter
	size    prometheus.Gauge
}

func newStore(limit int, metrics prometheus.Registerer) *store {
	s := &store{
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_analyze_series_evictions_total", Help: "Series forgotten for lack of room (maxSeries).",
		}),
		size: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_analyze_series", Help: "Series remembered."}),
	}
	// The only error of NewLRU is a size that is not positive; settingsOf rules it out.
	s.lru, _ = simplelru.NewLRU[xxh3.Uint128, *series](limit, func(xxh3.Uint128, *series) { s.evicted.Inc() })
	if metrics != nil {
		metrics.MustRegister(s.evicted, s.size)
	}
	return s
}

// of returns the series of an entity and a metric.
func (s *store) of(r *event.EntityRef, source, metric string) *series {
	b := s.buf[:0]
	if r.UID != "" {
		b = append(b, r.UID...)
	} else {
		for _, part := range [...]string{r.Cluster, r.Kind, r.Namespace} {
			b = append(append(b, part...), 0)
		}
		b = append(b, r.Name...)
		if r.Name == "" {
			b = append(append(b, 0), source...)
		}
	}
	b = append(append(b, 0), metric...)
	s.buf = b
	key := xxh3.Hash128(b)
	if found, ok := s.lru.Get(key); ok {
		return found
	}
	made := &series{}
	s.lru.Add(key, made)
	return made
}

// seriesName is [<cluster>/]<kind>/<namespace>/<name>/<metric>, for people. It is made for a result and not
// remembered: names may be long.
func seriesName(r *event.EntityRef, source, metric string) string {
	if r.Name == "" && r.UID == "" {
		return source + " " + metric
	}
	parts := make([]string, 0, 5)
	for _, p := range []string{r.Cluster, r.Kind, r.Namespace, r.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if r.Name == "" {
		parts = append(parts, r.UID)
	}
	return strings.Join(append(parts, metric), "/")
}
