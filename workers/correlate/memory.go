package correlate

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
)

// ringSize is how many observations are remembered of one entity.
const ringSize = 16

// ring holds the newest observations of one entity.
type ring struct {
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

// memory finds observations by what they concern.
type memory struct {
	rings   *simplelru.LRU[string, *ring]
	evicted prometheus.Counter
}

func newMemory(limit int, m prometheus.Registerer) *memory {
	mem := &memory{evicted: counter(m, "millrace_correlate_entities_evicted_total", "Entities forgotten for lack of room (maxEntities).")}
	mem.rings, _ = simplelru.NewLRU[string, *ring](limit, func(string, *ring) { mem.evicted.Inc() }) // the limit is positive
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
	r, ok := m.rings.Get(key)
	if !ok {
		r = &ring{}
		m.rings.Add(key, r)
	}
	r.add(o)
}

// of returns what is remembered under a key.
func (m *memory) of(key string) *ring {
	if key == "" {
		return nil
	}
	r, _ := m.rings.Get(key)
	return r
}

func counter(m prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	if m != nil {
		m.MustRegister(c)
	}
	return c
}
