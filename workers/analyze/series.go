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
	*anomalies         // nil = they are not looked for
	points     *points // nil = trends are not looked for
	counter    counter
	// direction of the trend that was told last: 1, -1, or 0 for none.
	direction int8
	// name is what the series is about, as an event, for when it falls silent; empty = nobody would be told.
	name  string
	named bool // that name has been made
	// family is that of a series with labels: the others of its entity and metric.
	family xxh3.Uint128
}

// newSeries has what the settings ask for.
func (s *store) newSeries() *series {
	made := &series{}
	if s.anomaly {
		made.anomalies = &anomalies{}
	}
	if s.trend {
		made.points = &points{}
	}
	return made
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

// store finds series by key and forgets the least recently used.
type store struct {
	lru      *simplelru.LRU[xxh3.Uint128, *series]
	families *simplelru.LRU[xxh3.Uint128, *family] // of series with attributes
	labels   labels                                // memory for those of an event
	buf      []byte
	limit    int      // of series, and of families
	by       []string // attributes that tell series apart, if somebody chose them
	anomaly  bool
	trend    bool
	evicted  prometheus.Counter
	size     prometheus.Gauge
}

func newStore(set settings, limit int, metrics prometheus.Registerer) *store {
	s := &store{
		limit: limit, by: set.seriesBy, anomaly: set.anomaly, trend: set.trend,
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_analyze_series_evictions_total", Help: "Series forgotten for lack of room (maxSeries).",
		}),
		size: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_analyze_series", Help: "Series remembered."}),
	}
	// The only error of NewLRU is a size that is not positive; settingsOf rules it out.
	s.lru, _ = simplelru.NewLRU[xxh3.Uint128, *series](limit, func(xxh3.Uint128, *series) { s.evicted.Inc() })
	s.families, _ = simplelru.NewLRU[xxh3.Uint128, *family](limit, nil)
	if metrics != nil {
		metrics.MustRegister(s.evicted, s.size)
	}
	return s
}

// of returns the series of a value, by entity, metric, and what else tells it apart. The labels are in the memory of the
// event. now is the stream time, at when it happened.
func (s *store) of(e *event.Event, metric string, now, at int64) (*series, labels) {
	key := s.keyOf(&e.Entity, e.Source, metric)
	if len(s.by) > 0 {
		s.labels = appendChosen(s.labels[:0], e, s.by)
		found, _ := s.get(with(key, s.labels.sum()))
		return found, s.labels
	}
	s.labels = appendLabels(s.labels[:0], e)
	if len(s.labels) == 0 {
		found, _ := s.get(key)
		return found, nil
	}
	f, ok := s.families.Get(key)
	if !ok {
		f = &family{}
		s.families.Add(key, f)
	}
	kept, sum := f.narrow(s.labels, now)
	found, made := s.get(with(key, sum))
	if made {
		f.grown()
		if sum != 0 {
			found.family = key
		}
	}
	f.last = max(f.last, at)
	return found, kept
}

// with is the key of the series with labels of a sum; that of none is 0.
func with(key xxh3.Uint128, sum uint64) xxh3.Uint128 {
	return xxh3.Uint128{Hi: key.Hi + sum, Lo: key.Lo ^ sum}
}

func (s *store) get(key xxh3.Uint128) (found *series, made bool) {
	if found, ok := s.lru.Get(key); ok {
		return found, false
	}
	found = s.newSeries()
	s.lru.Add(key, found)
	return found, true
}

func (s *store) keyOf(r *event.EntityRef, source, metric string) xxh3.Uint128 {
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
	return xxh3.Hash128(b)
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
