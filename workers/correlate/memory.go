package correlate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
)

// ringSize is how many observations of one kind are remembered of one entity.
const ringSize = 16

// ring holds the newest observations of one kind of one entity.
type ring struct {
	of    signal
	items [ringSize]*observation
	n     int // ever added
	held  int // of those, the last ones
}

func (r *ring) add(o *observation) {
	r.items[r.n%ringSize] = o
	r.n++
	r.held = min(r.held+1, ringSize)
}

// expire drops what was seen before a time, and returns when the oldest of the rest was.
func (r *ring) expire(before int64) (oldest int64) {
	for ; r.held > 0; r.held-- {
		x := &r.items[(r.n-r.held)%ringSize]
		if (*x).seen >= before {
			return (*x).seen
		}
		*x = nil
	}
	return math.MaxInt64
}

// newest yields the observations that were seen since a time, the last added first. It says
// whether to go on.
func (r *ring) newest(since int64, yield func(*observation) bool) bool {
	for i := r.n - 1; i >= r.n-r.held; i-- {
		if x := r.items[i%ringSize]; x.seen >= since && !yield(x) {
			return false
		}
	}
	return true
}

// entity is what is remembered of one entity: a ring for each kind of event, so that a flood
// of one kind, such as failed requests, pushes out no other.
type entity struct {
	rings  []*ring // in the order of their kinds
	held   int     // observations in them
	seen   int64   // when the last was added
	oldest int64   // no observation in them was seen before
	lost   bool    // some were added without a node
}

// memory finds observations by what they concern, for span after they were seen. What it
// knows follows from what was seen in that time: see Horizon.
type memory struct {
	span     int64
	now      int64 // stream time
	entities *simplelru.LRU[string, *entity]
	held     int // observations, under each of their keys
	maxHeld  int
	evicted  prometheus.Counter
	size     prometheus.Gauge
}

// perEntity is how many observations of an entity there is room for, on average.
const perEntity = 4

func newMemory(span time.Duration, limit int, m prometheus.Registerer) *memory {
	mem := &memory{
		span: int64(span), maxHeld: perEntity * limit,
		evicted: counter(m, "millrace_correlate_entities_evicted_total", "Entities forgotten for lack of room (maxEntities)."),
		size:    gauge(m, "millrace_correlate_entities", "Entities remembered."),
	}
	mem.entities, _ = simplelru.NewLRU(limit, func(_ string, e *entity) { mem.held -= e.held }) // the limit is positive
	return mem
}

func (m *memory) remember(o *observation) {
	for _, key := range o.keys {
		if key != "" {
			m.place(key, o)
		}
	}
	for _, key := range o.services {
		m.place(key, o)
	}
	if o.signal == signalErrorSpan && o.home != "" { // those to a service of another namespace push it out of the ring of its key
		m.place(o.home, o)
	}
}

// rememberRecovery remembers o under what is well again alone: a healthy cluster is full of recoveries.
func (m *memory) rememberRecovery(o *observation) {
	placed := ""
	for _, key := range [...]string{o.memoryKey(), o.self} {
		if key != "" && key != placed && o.entity.GetKind() != "" && (key == o.memoryKey() || o.entity.GetKind() != "Node") {
			m.place(key, o)
			placed = key
		}
	}
}

// place remembers o under one key.
func (m *memory) place(key string, o *observation) {
	e, ok := m.entities.Get(key)
	if !ok {
		e = &entity{oldest: o.seen}
		if m.entities.Add(key, e) {
			m.evicted.Inc()
		}
	}
	at, ok := slices.BinarySearchFunc(e.rings, o.signal, func(r *ring, s signal) int { return cmp.Compare(r.of, s) })
	if !ok {
		e.rings = slices.Insert(e.rings, at, &ring{of: o.signal})
	}
	r := e.rings[at]
	if r.held < ringSize {
		e.held++
		m.held++
	}
	r.add(o)
	e.oldest = min(e.oldest, o.seen)
	if since := m.now - m.span; e.oldest < since {
		m.expire(e, since)
	}
	e.seen = max(e.seen, o.seen)
	e.lost = e.lost || o.keys[sameNode] == ""
	for m.held > m.maxHeld && m.entities.Len() > 1 {
		m.entities.RemoveOldest()
		m.evicted.Inc()
	}
}

// expire drops what is too old of an entity that lives: it takes no room from others.
func (m *memory) expire(e *entity, before int64) {
	m.held -= e.held
	e.held, e.oldest = 0, math.MaxInt64
	for _, r := range e.rings {
		e.oldest = min(e.oldest, r.expire(before))
		e.held += r.held
	}
	m.held += e.held
}

// forget moves the clock and drops the entities that nothing was seen of within the span.
func (m *memory) forget(now int64) {
	m.now = max(m.now, now)
	for {
		_, e, ok := m.entities.GetOldest()
		if !ok || e.seen >= m.now-m.span {
			break
		}
		m.entities.RemoveOldest()
	}
	m.size.Set(float64(m.entities.Len()))
}

// lost says whether something may be remembered under a key without its node.
func (m *memory) lost(key string) bool {
	e, _ := m.entities.Peek(key)
	return e != nil && e.lost
}

// rings are what is remembered under a key.
func (m *memory) rings(key string) []*ring {
	if e, ok := m.entities.Peek(key); ok {
		return e.rings
	}
	return nil
}

// of yields the observations of one kind that are remembered under a key, the last added first.
func (m *memory) of(key string, s signal) func(yield func(*observation) bool) {
	return func(yield func(*observation) bool) {
		for _, r := range m.rings(key) {
			if r.of == s {
				r.newest(m.now-m.span, yield)
			}
		}
	}
}

// all yields everything that is remembered under a key.
func (m *memory) all(key string) func(yield func(*observation) bool) {
	return func(yield func(*observation) bool) {
		for _, r := range m.rings(key) {
			if !r.newest(m.now-m.span, yield) {
				return
			}
		}
	}
}

func counter(m prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	if m != nil {
		m.MustRegister(c)
	}
	return c
}

func gauge(m prometheus.Registerer, name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	if m != nil {
		m.MustRegister(g)
	}
	return g
}
