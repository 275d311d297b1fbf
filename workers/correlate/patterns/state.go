package patterns

import "millrace.dev/millrace/workers/stage/state"

// State names the state to a codec: all that decides what the Core finds from then on.
func (c *Core) State(sc *state.Codec) {
	g := &graph{Codec: sc}
	g.kinds.Least, g.pairs.Least, g.entities.Least, g.slots.Least, g.expectations.Least = 12, 16, 6, 10, 5
	if sc.Reading() {
		c.reset()
	}
	g.core(c)
	for g.kinds.Each(sc, g.kind) || g.pairs.Each(sc, g.pair) || g.entities.Each(sc, g.entity) || g.slots.Each(sc, g.slot) || g.expectations.Each(sc, g.expectation) {
	}
	if sc.Reading() && sc.OK() {
		c.index(g)
	}
}

// graph is the codec of what points to each other.
type graph struct {
	*state.Codec
	kinds        state.Shared[kind]
	pairs        state.Shared[pair]
	entities     state.Shared[entity]
	slots        state.Shared[slot]
	expectations state.Shared[expectation]
}

func (g *graph) core(c *Core) {
	for _, v := range []*int64{&c.now, &c.frontier, &c.begun, &c.evicted, &c.looked, &c.listed, &c.faded, &c.tested, &c.sequence} {
		state.Int(g.Codec, v)
		g.Check(*v >= 0, "a time before 1970")
	}
	g.Bool(&c.dirty)
	state.Slice(g.Codec, &c.kinds, func(k **kind) { g.kinds.Must(g.Codec, k) })
	state.Slice(g.Codec, &c.pairs, func(p **pair) { g.pairs.Must(g.Codec, p) })
	state.Slice(g.Codec, &c.known, func(p **pair) { g.pairs.Must(g.Codec, p) })
	state.LRU(g.Codec, c.keys, c.limits.Keys, func(name *keyName, e **entity) {
		g.keyName(name)
		g.entities.Must(g.Codec, e)
	})
	state.Slice(g.Codec, &c.queue.heap, g.queued)
	state.Int(g.Codec, &c.queue.order)
}

// index makes what finds the parts of the state.
func (c *Core) index(g *graph) {
	ofKeys, last := 0, int64(0)
	for _, k := range c.kinds {
		g.Check(!k.gone && k.sequence > last && k.sequence <= c.sequence, "a kind out of order")
		if last = k.sequence; k.of == nil {
			c.byName[k.kindName] = k
			ofKeys++
		} else {
			g.Check(k.of.completed == k, "a completion of nothing")
		}
	}
	g.Check(len(c.byName) == ofKeys && ofKeys <= c.limits.Kinds, "a kind twice")
	last = 0
	for _, p := range c.pairs {
		g.Check(p.sequence > last && p.sequence <= c.sequence && (p.first.of == nil || p.first.of.first.of == nil) && p.then.of == nil, "a pair out of order")
		last = p.sequence
		c.byPair[p.pairName] = p
	}
	g.Check(len(c.byPair) == len(c.pairs), "a pair twice")
	for _, p := range c.known {
		g.Check(p.known && c.byPair[p.pairName] == p && (p.first.of != nil || p.completed != nil), "a known pattern without a pair")
		if !g.OK() {
			return
		}
		p.first.then[p.relation] = append(p.first.then[p.relation], p)
		if p.first.of == nil {
			p.then.after[p.relation] = append(p.then.after[p.relation], p)
		}
	}
	for _, name := range c.keys.Keys() {
		e, _ := c.keys.Peek(name)
		g.Check(e.keyName == name && !e.gone && len(e.slots) <= perKey, "a key under another name")
	}
}

func (g *graph) relation(r *Relation) {
	state.Int(g.Codec, r)
	if g.Check(*r < Relations, "a relation"); !g.OK() {
		*r = 0
	}
}

func (g *graph) kindName(n *kindName) {
	g.Text(&n.object)
	g.Text(&n.typ)
	g.Text(&n.reason)
}

func (g *graph) kind(k *kind) {
	g.kindName(&k.kindName)
	state.Int(g.Codec, &k.sequence)
	state.Int(g.Codec, &k.severity)
	state.Int(g.Codec, &k.seen)
	for i := range k.begun {
		g.Float64(&k.begun[i])
	}
	g.pairs.Ref(g.Codec, &k.of)
	g.Bool(&k.gone)
}

func (g *graph) keyName(n *keyName) {
	g.relation(&n.relation)
	g.Text(&n.key)
}

func (g *graph) entity(e *entity) {
	g.keyName(&e.keyName)
	state.Int(g.Codec, &e.since)
	state.Slice(g.Codec, &e.slots, func(s **slot) { g.slots.Must(g.Codec, s) })
	g.Bool(&e.gone)
	state.Slice(g.Codec, &e.expects, func(x **expectation) { g.expectations.Must(g.Codec, x) })
	state.Slice(g.Codec, &e.quiet, g.quietness)
}

func (g *graph) quietness(q *quietness) {
	g.pairs.Must(g.Codec, &q.pair)
	state.Int(g.Codec, &q.until)
}

func (g *graph) slot(s *slot) {
	g.kinds.Must(g.Codec, &s.kind)
	state.Int(g.Codec, &s.n)
	for i := s.n - min(s.n, ringSize); i < s.n && g.OK(); i++ {
		state.Int(g.Codec, &s.ring[i%ringSize])
	}
	for _, v := range []*int64{&s.newest, &s.before, &s.start, &s.tested} {
		state.Int(g.Codec, v)
	}
	g.String(&s.id)
	g.String(&s.startID)
}

func (g *graph) pairName(n *pairName) {
	g.relation(&n.relation)
	g.kinds.Must(g.Codec, &n.first)
	g.kinds.Must(g.Codec, &n.then)
}

func (g *graph) pair(p *pair) {
	g.pairName(&p.pairName)
	state.Int(g.Codec, &p.sequence)
	for _, v := range []*float64{&p.earlier, &p.followed, &p.chance} {
		g.Float64(v)
		g.Check(*v > -1e300 && *v < 1e300, "a count without a size")
	}
	state.Int(g.Codec, &p.evidence)
	state.Int(g.Codec, &p.tested)
	for i := range p.delays {
		g.Float64(&p.delays[i])
	}
	state.Slice(g.Codec, &p.examples, g.example)
	g.Check(len(p.examples) <= maxExamples, "a pattern with more examples than it has")
	g.Bool(&p.known)
	state.Int(g.Codec, &p.since)
	state.Int(g.Codec, &p.told)
	state.Int(g.Codec, &p.open)
	state.Int(g.Codec, &p.revision)
	g.kinds.Ref(g.Codec, &p.completed)
}

func (g *graph) example(x *Example) {
	g.Text(&x.Key)
	g.String(&x.First)
	g.String(&x.Then)
	state.Int(g.Codec, &x.At)
	state.Int(g.Codec, &x.Delay)
}

func (g *graph) expectation(x *expectation) {
	g.pairs.Must(g.Codec, &x.pair)
	g.String(&x.id)
	state.Int(g.Codec, &x.at)
	g.String(&x.first)
	g.Text(&x.about)
	g.Check(x.about == "" || x.about == Begins || x.about == Missing, "an expectation of another kind")
	state.Int(g.Codec, &x.revision)
}

func (g *graph) queued(q *queued) {
	state.Int(g.Codec, &q.at)
	state.Int(g.Codec, &q.order)
	happens := q.event != nil
	if g.Bool(&happens); happens {
		if g.Reading() {
			q.event = &occurrence{}
		}
		g.occurrence(q.event)
		return
	}
	g.entities.Must(g.Codec, &q.entity)
	g.slots.Ref(g.Codec, &q.slot)
	g.Bool(&q.tests)
	g.Bool(&q.late)
	g.Check(q.late != (q.slot != nil), "the end of nothing")
}

func (g *graph) occurrence(o *occurrence) {
	g.kinds.Must(g.Codec, &o.kind)
	g.String(&o.id)
	state.Int(g.Codec, &o.severity)
	for i := range o.keys {
		g.Text(&o.keys[i])
	}
}
