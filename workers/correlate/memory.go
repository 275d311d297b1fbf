package correlate

import (
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
}

func (r *ring) add(o *observation) { r.items[r.n%ringSize] = o; r.n++ }

// newest yields observations, the last added first.
func (r *ring) newest(yield func(*observation) bool) {
	for i := r.n - 1; i >= 0 && i >= r.n-ringSize; i-- {
		if !yield(r.items[i%ringSize]) {
			return
		}
	}
}

// entity is what is remembered of one entity: a ring for each kind of event, so that a flood
// of one kind, such as failed requests, pushes out no other.
type entity struct{ rings []*ring }

func (e *entity) ring(s signal) *ring {
	for _, r := range e.rings {
		if r.of == s {
			return r
		}
	}
	return nil
}

// memory finds observations by what they concern.
type memory struct {
	entities *simplelru.LRU[string, *entity]
	evicted  prometheus.Counter
}

func newMemory(limit int, m prometheus.Registerer) *memory {
	mem := &memory{evicted: counter(m, "millrace_correlate_entities_evicted_total", "Entities forgotten for lack of room (maxEntities).")}
	mem.entities, _ = simplelru.NewLRU[string, *entity](limit, func(string, *entity) { mem.evicted.Inc() }) // the limit is positive
	return mem
}

func (m *memory) remember(o *observation) {
	for _, key := range o.keys {
		if key != "" {
			m.place(key, o)
		}
	}
}

// place remembers o under one key.
func (m *memory) place(key string, o *observation) {
	e, ok := m.entities.Get(key)
	if !ok {
		e = &entity{}
		m.entities.Add(key, e)
	}
	r := e.ring(o.signal)
	if r == nil {
		r = &ring{of: o.signal}
		e.rings = append(e.rings, r)
	}
	r.add(o)
}

// of yields the observations of one kind that are remembered under a key, the last added first.
func (m *memory) of(key string, s signal) func(yield func(*observation) bool) {
	return func(yield func(*observation) bool) {
		if key == "" {
			return
		}
		if e, ok := m.entities.Get(key); ok {
			if r := e.ring(s); r != nil {
				r.newest(yield)
			}
		}
	}
}

// all yields everything that is remembered under a key.
func (m *memory) all(key string) func(yield func(*observation) bool) {
	return func(yield func(*observation) bool) {
		if key == "" {
			return
		}
		e, ok := m.entities.Get(key)
		if !ok {
			return
		}
		for _, r := range e.rings {
			for x := range r.newest {
				if !yield(x) {
					return
				}
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
