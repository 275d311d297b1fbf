package analyze

import (
	"math"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/event"
)

// series is what is remembered of one entity and metric.
type series struct {
	detector detector
	points   points
	counter  counter
	// direction of the trend that was told last: 1, -1, or 0 for none.
	direction int8
	near      int64 // the span in which its limit was near last; 0 = never
}

// kindCounter is the kind of a metric that only grows, but for resets.
const kindCounter = "counter"

// counter is the last value of a series of that kind.
type counter struct {
	value float64
	at    int64 // 0 = unknown
	known bool
}

// rate is how fast the counter has grown since the value before, and over which time: in a second where both times are known,
// else from value to value. There is none for the first value and after a reset, nor where times went back or only one is
// known.
func (c *counter) rate(value float64, at int64) (rate float64, over time.Duration, ok bool) {
	last := *c
	*c = counter{value: value, at: at, known: true}
	grown := value - last.value
	switch {
	case !last.known || grown < 0 || (at == 0) != (last.at == 0):
		return 0, 0, false
	case at == 0:
		return grown, 0, true
	case at <= last.at:
		return 0, 0, false
	}
	over = time.Duration(min(uint64(at)-uint64(last.at), math.MaxInt64))
	rate = grown / over.Seconds()
	return rate, over, rate < maxValue
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
