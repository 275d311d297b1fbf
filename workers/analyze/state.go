package analyze

import (
	"fmt"

	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/analyze/novelty"
	"millrace.dev/millrace/workers/stage/state"
)

// stateVersion is raised when the state, or what it means, changes.
const stateVersion = 3

// format is that of the state. It depends on the settings but the live ones.
func format(set settings, source string, lanes int) state.Format {
	set.threshold, set.minPoints = 0, 0
	return state.Format{Version: stateVersion, Depends: fmt.Sprintf("%s lanes=%d novelty=%d %+v", source, lanes, novelty.StateVersion, set)}
}

// Snapshot appends the series and the insights that are open.
func (a *analyzer) Snapshot(b []byte) ([]byte, error) { return state.Write(b, a.kept, a.state) }

// Restore goes on where a snapshot was taken.
func (a *analyzer) Restore(b []byte) error {
	if err := state.Read(b, a.kept, a.state); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return nil
}

func (a *analyzer) state(sc *state.Codec) {
	c := codec{Codec: sc}
	c.store(a.store)
	a.clock.State(sc)
	state.Int(sc, &a.swept)
	c.insights(&a.insights)
}

type codec struct {
	*state.Codec
	episodes state.Shared[episode]
}

func (c *codec) store(s *store) {
	state.LRU(c.Codec, s.lru, s.limit, func(key *xxh3.Uint128, v **series) {
		c.key(key)
		if c.Reading() {
			*v = s.newSeries()
		}
		c.series(*v)
	})
	state.LRU(c.Codec, s.families, s.limit, func(key *xxh3.Uint128, f **family) {
		c.key(key)
		if c.Reading() {
			*f = &family{}
		}
		c.family(*f)
	})
}

func (c *codec) key(k *xxh3.Uint128) {
	c.Fixed64(&k.Hi)
	c.Fixed64(&k.Lo)
}

func (c *codec) series(s *series) {
	if s.anomalies != nil {
		c.anomalies(s.anomalies)
	}
	if s.points != nil {
		c.points(s.points)
	}
	c.counter(&s.counter)
	state.Int(c.Codec, &s.direction)
	c.String(&s.name)
	c.Bool(&s.named)
	c.key(&s.family)
}

func (c *codec) anomalies(a *anomalies) {
	a.Detector.State(c.Codec)
	a.Alarm.State(c.Codec)
	a.flat.State(c.Codec)
	a.rhythm.State(c.Codec)
	c.Float64(&a.mean)
}

// points writes those that there are: what stands behind them in the arrays is nothing.
func (c *codec) points(p *points) {
	state.Int(c.Codec, &p.n)
	if c.Check(0 <= p.n && p.n <= maxPoints, "a number of points"); !c.OK() {
		p.n = 0
	}
	for i := range p.n {
		c.Float32(&p.values[i])
		state.Int(c.Codec, &p.gaps[i])
	}
	for _, v := range [...]*int{&p.length, &p.s, &p.ties, &p.count, &p.behind} {
		state.Int(c.Codec, v)
	}
	state.Int(c.Codec, &p.span)
	state.Int(c.Codec, &p.last)
	c.Float64(&p.sum)
	c.Float64(&p.at)
	c.waiting(&p.ahead)
}

func (c *codec) waiting(w *waiting) {
	state.Int(c.Codec, &w.span)
	c.Float64(&w.x)
	c.Float64(&w.at)
}

func (c *codec) counter(n *counter) {
	c.Float64(&n.value)
	state.Int(c.Codec, &n.at)
	c.Bool(&n.known)
}

func (c *codec) family(f *family) {
	state.Int(c.Codec, &f.epoch)
	state.Int(c.Codec, &f.series)
	state.Int(c.Codec, &f.last)
	state.Int(c.Codec, &f.n)
	if c.Check(0 <= f.n && f.n <= maxLabels, "a number of attributes"); !c.OK() {
		f.n = 0
	}
	for i := range f.attrs[:f.n] {
		c.attribute(&f.attrs[i])
	}
}

func (c *codec) attribute(a *attribute) {
	c.Fixed64(&a.key)
	c.Fixed64(&a.seen)
	c.Bool(&a.wide)
}

func (c *codec) insights(in *insights) {
	c.episodes.Least = 16
	state.LRU(c.Codec, in.open, in.max, func(key *string, ep **episode) {
		c.String(key)
		c.episodes.Must(c.Codec, ep)
	})
	state.Slice(c.Codec, &in.pending, func(ep **episode) { c.episodes.Must(c.Codec, ep) })
	for c.episodes.Each(c.Codec, c.episode) {
	}
	state.LRU(c.Codec, in.limits, in.max, func(id *string, l **openLimit) {
		c.String(id)
		if c.Reading() {
			*l = &openLimit{}
		}
		c.limit(*l)
	})
	state.LRU(c.Codec, in.predictions, in.max, func(id *string, p **openPrediction) {
		c.String(id)
		if c.Reading() {
			*p = &openPrediction{}
		}
		c.prediction(*p)
	})
	c.events(&in.recalled)
	state.Int(c.Codec, &in.recalledUntil)
}

func (c *codec) events(list *[]*eventv1.Event) {
	state.Slice(c.Codec, list, c.event)
}

// event is one that is always there.
func (c *codec) event(e **eventv1.Event) {
	state.Message(c.Codec, e)
	c.Check(*e != nil, "no event")
}

func (c *codec) episode(ep *episode) {
	c.String(&ep.id)
	state.Message(c.Codec, &ep.root)
	for _, v := range [...]*int64{&ep.begun, &ep.seen, &ep.first, &ep.last, &ep.toldAt} {
		state.Int(c.Codec, v)
	}
	state.Slice(c.Codec, &ep.evidence, func(e **eventv1.Evidence) {
		state.Message(c.Codec, e)
		c.Check(*e != nil, "no evidence")
	})
	state.Slice(c.Codec, &ep.series, c.String)
	c.event(&ep.worst)
	c.Bool(&ep.strong)
	state.Int(c.Codec, &ep.count)
	state.Int(c.Codec, &ep.revision)
	state.Int(c.Codec, &ep.told)
	c.Bool(&ep.pending)
	c.Bool(&ep.over)
}

func (c *codec) limit(l *openLimit) {
	c.event(&l.about)
	c.String(&l.name)
	state.Int(c.Codec, &l.seen)
}

func (c *codec) prediction(p *openPrediction) {
	c.event(&p.about)
	c.String(&p.name)
	state.Int(c.Codec, &p.seen)
}
