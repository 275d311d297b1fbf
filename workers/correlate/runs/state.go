package runs

import (
	"millrace.dev/millrace/workers/stage/state"
)

// State names the state to a codec: all that decides what the Core finds from then on. What follows from it is made again when it is read.
func (c *Core) State(sc *state.Codec) {
	g := &graph{Codec: sc}
	g.services.Least, g.statements.Least, g.routes.Least, g.links.Least, g.gauges.Least, g.serieses.Least = 8, 8, 16, 16, 16, 6
	if sc.Reading() {
		c.reset()
	}
	g.core(c)
	for g.services.Each(sc, g.service) || g.statements.Each(sc, g.statement) || g.routes.Each(sc, g.route) || g.links.Each(sc, g.link) ||
		g.gauges.Each(sc, g.gauge) || g.serieses.Each(sc, g.series) {
	}
	if sc.Reading() && sc.OK() {
		c.index(g)
	}
}

// graph is the codec of what points to each other.
type graph struct {
	*state.Codec
	services   state.Shared[Service]
	statements state.Shared[statement]
	routes     state.Shared[route]
	links      state.Shared[link]
	gauges     state.Shared[gauge]
	serieses   state.Shared[series]
}

func (g *graph) core(c *Core) {
	for _, v := range []*int64{&c.now, &c.latest, &c.frontier, &c.paneNow, &c.busy, &c.epoch, &c.sequence} {
		state.Int(g.Codec, v)
		g.Check(*v >= 0, "a time before 1970")
	}
	state.Slice(g.Codec, &c.services, func(s **Service) { g.services.Must(g.Codec, s) })
	state.Slice(g.Codec, &c.texts, func(s **statement) { g.statements.Must(g.Codec, s) })
	state.Slice(g.Codec, &c.routes, func(r **route) { g.routes.Must(g.Codec, r) })
	state.Slice(g.Codec, &c.links, func(l **link) { g.links.Must(g.Codec, l) })
	g.latencyNorm(&c.overall)
	state.Slice(g.Codec, &c.gauges, func(p **gauge) { g.gauges.Must(g.Codec, p) })
	g.waiting(&c.waiting)
	state.Slice(g.Codec, &c.queue.heap, g.queued)
	state.Int(g.Codec, &c.queue.order)
	state.Slice(g.Codec, &c.series, func(p **series) { g.serieses.Must(g.Codec, p) })
	state.Slice(g.Codec, &c.alarms, func(p **alarm) {
		if g.Reading() {
			*p = &alarm{}
		}
		g.alarm(*p)
	})
	g.Bool(&c.sampled)
	state.Slice(g.Codec, &c.incidents, func(p **incident) {
		if g.Reading() {
			*p = &incident{}
		}
		g.incident(*p)
	})
}

// index makes what finds the parts of the state.
func (c *Core) index(g *graph) {
	for _, s := range c.services {
		c.byKey[s.ServiceKey] = s
		if c.byName[s.Name] == nil {
			c.byName[s.Name] = s
		}
	}
	for _, t := range c.texts {
		c.byHash[t.hash] = t
	}
	for _, r := range g.routes.All() {
		for at := range r.said {
			r.at[r.said[at].hash] = uint8(at)
		}
		g.Check(len(r.at) == len(r.said), "a route with the same statement twice")
		r.refresh()
		r.times.refresh()
	}
	for _, r := range c.routes {
		c.byRoute[routeKey{r.service, r.name}] = r
		r.service.routes = append(r.service.routes, r)
	}
	for _, l := range c.links {
		c.byLink[linkKey{l.from, l.to, l.database}] = l
		l.from.out = append(l.from.out, l)
		if l.to != nil {
			l.to.in = append(l.to.in, l)
		}
	}
	for _, x := range c.gauges {
		c.byGauge[x.gaugeKey] = x
	}
	for _, x := range c.series {
		c.bySeries[x.seriesKey] = x
	}
	g.Check(len(c.byKey) == len(c.services) && len(c.byHash) == len(c.texts) && len(c.byRoute) == len(c.routes) && len(c.byLink) == len(c.links) &&
		len(c.byGauge) == len(c.gauges) && len(c.bySeries) == len(c.series), "the same thing twice")
}

func (g *graph) service(s *Service) {
	g.key(&s.ServiceKey)
	g.entity(&s.Entity)
	state.Int(g.Codec, &s.sequence)
	state.Int(g.Codec, &s.seen)
	g.statements.Must(g.Codec, &s.call)
}

func (g *graph) key(k *ServiceKey) {
	g.Text(&k.Cluster)
	g.Text(&k.Namespace)
	g.Text(&k.Name)
}

func (g *graph) entity(e *Entity) {
	for _, v := range []*string{&e.Kind, &e.Namespace, &e.Name, &e.UID, &e.APIVersion, &e.Cluster} {
		g.Text(v)
	}
}

func (g *graph) statement(s *statement) {
	state.Int(g.Codec, &s.sequence)
	g.Fixed64(&s.hash)
	g.Text(&s.text)
	state.Int(g.Codec, &s.kind)
	g.Bool(&s.warns)
	g.services.Ref(g.Codec, &s.named)
	g.Check(s.kind <= saysName && (s.kind != saysName || s.named != nil), "a statement that names nobody")
	state.Int(g.Codec, &s.seen)
	g.statements.Ref(g.Codec, &s.again)
}

// ring is written without its empty buckets.
func (g *graph) ring(r *ring) {
	mask := uint16(0)
	for i, v := range r {
		if v != 0 {
			mask |= 1 << i
		}
	}
	state.Int(g.Codec, &mask)
	for i := range r {
		if mask&(1<<i) != 0 {
			g.Float32(&r[i])
		}
	}
}

func (g *graph) latency(l *latency) {
	for _, v := range []*uint32{&l.n, &l.over2, &l.over5} {
		state.Int(g.Codec, v)
	}
	if l.n > 0 {
		g.Float64(&l.sum)
		g.Float64(&l.squares)
	}
}

func (g *graph) latencyNorm(l *latencyNorm) {
	g.epoch(&l.epoch)
	for _, r := range []*ring{&l.ns, &l.sums, &l.squares, &l.chi, &l.panes} {
		g.ring(r)
	}
	if g.Reading() && l.epoch != 0 {
		l.refresh()
	}
}

func (g *graph) epoch(v *int64) {
	state.Int(g.Codec, v)
	g.Check(*v >= 0, "a bucket before 1970")
}

func (g *graph) route(r *route) {
	state.Int(g.Codec, &r.sequence)
	g.services.Must(g.Codec, &r.service)
	g.Text(&r.name)
	state.Int(g.Codec, &r.seen)
	g.Bool(&r.gone)
	if g.Reading() {
		r.at = map[uint64]uint8{}
	}
	state.Slice(g.Codec, &r.said, g.said)
	g.Check(len(r.said) <= 64, "a route of more statements than it has")
	for i := range window {
		state.Int(g.Codec, &r.n[i])
		state.Int(g.Codec, &r.x[i])
		state.Int(g.Codec, &r.mute[i])
		g.Bool(&r.lossy[i])
		g.latency(&r.own[i])
		g.Float64(&r.high[i])
	}
	state.Int(g.Codec, &r.held)
	state.Int(g.Codec, &r.tail)
	g.Bool(&r.active)
	g.epoch(&r.epoch)
	for _, v := range []*ring{&r.ns, &r.xs, &r.panes} {
		g.ring(v)
	}
	g.latencyNorm(&r.times)
}

func (g *graph) said(s *said) {
	g.statements.Must(g.Codec, &s.statement)
	for i := range s.k {
		state.Int(g.Codec, &s.k[i])
	}
	g.ring(&s.norm)
	g.ring(&s.chi)
}

func (g *graph) link(l *link) {
	state.Int(g.Codec, &l.sequence)
	g.services.Must(g.Codec, &l.from)
	g.services.Ref(g.Codec, &l.to)
	g.Text(&l.database)
	state.Int(g.Codec, &l.seen)
	for i := range window {
		g.latency(&l.gap[i])
		g.Float64(&l.high[i])
	}
	g.latencyNorm(&l.norm)
	state.Int(g.Codec, &l.held)
	g.Bool(&l.active)
}

func (g *graph) gauge(x *gauge) {
	for _, v := range []*string{&x.cluster, &x.namespace, &x.kind, &x.object, &x.metric} {
		g.Text(v)
	}
	state.Int(g.Codec, &x.sequence)
	g.services.Must(g.Codec, &x.service)
	state.Int(g.Codec, &x.seen)
	g.epoch(&x.epoch)
	g.ring(&x.ns)
	g.ring(&x.sums)
	for _, v := range []*float64{&x.hot, &x.weight, &x.usually} {
		g.Float64(v)
	}
	state.Int(g.Codec, &x.hotUntil)
	state.Int(g.Codec, &x.since)
}

// waiting writes the spans that wait in the order of their birth.
func (g *graph) waiting(w *waitingSpans) {
	n := g.Len(w.n)
	if !g.Reading() {
		for i := w.first; i >= 0; i = w.all[i].after {
			g.waitingSpan(&w.all[i])
		}
		return
	}
	var counts Counts
	for range n {
		var s waitingSpan
		if g.waitingSpan(&s); !g.OK() {
			return
		}
		at := w.get(s.id, s.born, n, &counts)
		at.said, at.marks, at.remote, at.callee, at.calleeNs = s.said, s.marks, s.remote, s.callee, s.calleeNs
	}
	g.Check(w.n == n, "a span that waits twice")
}

// waitingSpan has its place from the order.
func (g *graph) waitingSpan(s *waitingSpan) {
	g.Fixed64(&s.id)
	state.Int(g.Codec, &s.born)
	state.Slice(g.Codec, &s.said, func(st **statement) { g.statements.Must(g.Codec, st) })
	state.Slice(g.Codec, &s.marks, func(m **Service) { g.services.Must(g.Codec, m) })
	state.Int(g.Codec, &s.remote)
	g.services.Ref(g.Codec, &s.callee)
	state.Int(g.Codec, &s.calleeNs)
}

func (g *graph) queued(q *queued) {
	state.Int(g.Codec, &q.at)
	state.Int(g.Codec, &q.order)
	g.Fixed64(&q.id)
	g.Fixed64(&q.parent)
	state.Int(g.Codec, &q.duration)
	state.Int(g.Codec, &q.kind)
	g.services.Ref(g.Codec, &q.service)
	g.services.Ref(g.Codec, &q.peer)
	g.routes.Ref(g.Codec, &q.route)
	g.links.Ref(g.Codec, &q.link)
	g.gauges.Ref(g.Codec, &q.gauge)
	g.serieses.Ref(g.Codec, &q.series)
	g.Float64(&q.value)
	asks := q.alarm != nil
	if g.Bool(&asks); asks {
		if g.Reading() {
			q.alarm = &Alarm{}
		}
		g.asked(q.alarm)
	}
	g.Check(q.at >= 0, "a time before 1970")
	g.Check(q.alarm != nil || q.series != nil || q.gauge != nil || q.service != nil && q.kind <= Client && (q.kind == Server) == (q.route != nil), "a span without a route")
}

func (g *graph) series(x *series) {
	g.services.Must(g.Codec, &x.service)
	g.Text(&x.metric)
	state.Int(g.Codec, &x.sequence)
	state.Slice(g.Codec, &x.values, g.Float64)
	state.Int(g.Codec, &x.next)
	g.Check(len(x.values) <= maxValues && x.next >= 0 && x.next < maxValues, "a series of other size")
	state.Slice(g.Codec, &x.fresh, g.sample)
	state.Int(g.Codec, &x.seen)
}

func (g *graph) sample(s *sample) {
	state.Int(g.Codec, &s.at)
	g.Float64(&s.v)
}

func (g *graph) alarm(a *alarm) {
	g.asked(&a.Alarm)
	g.String(&a.id)
	state.Int(g.Codec, &a.revision)
	g.String(&a.told)
	state.Int(g.Codec, &a.last)
	state.Slice(g.Codec, &a.result, g.candidate)
	g.Check(a.revision == 0 || len(a.result) > 0, "an insight without a candidate")
}

func (g *graph) asked(a *Alarm) {
	g.services.Must(g.Codec, &a.Service)
	g.Text(&a.Metric)
	g.Text(&a.Statistic)
	state.Int(g.Codec, &a.At)
}

func (g *graph) candidate(c *Candidate) {
	g.services.Must(g.Codec, &c.Service)
	g.Float64(&c.Confidence)
	g.Float64(&c.Weight)
	state.Slice(g.Codec, &c.Evidence, g.evidence)
}

func (g *graph) evidence(e *Evidence) {
	g.Text(&e.Kind)
	g.Float64(&e.Weight)
	g.String(&e.Text)
	state.Int(g.Codec, &e.At)
}

func (g *graph) incident(i *incident) {
	g.String(&i.id)
	state.Int(g.Codec, &i.opened)
	state.Int(g.Codec, &i.last)
	g.Bool(&i.over)
	state.Int(g.Codec, &i.closes)
	state.Slice(g.Codec, &i.suspects, g.suspect)
	g.Check(len(i.suspects) > 0, "an incident without suspects")
	state.Int(g.Codec, &i.revision)
	g.services.Ref(g.Codec, &i.toldLead)
	g.Float64(&i.toldWeight)
	state.Int(g.Codec, &i.toldAt)
}

func (g *graph) suspect(s *suspect) {
	g.services.Must(g.Codec, &s.service)
	g.Float64(&s.best)
	state.Slice(g.Codec, &s.evidence, g.evidence)
}
