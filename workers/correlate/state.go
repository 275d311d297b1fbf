package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/stage/state"
)

// stateVersion is raised when the state, or what it means, changes.
const stateVersion = 4

// format is that of the state. It depends on the settings but minEvents, which is live, and on the names of signals
// and relations, which are kept as numbers.
func (c *correlator) format(set settings, partitions, lanes int) state.Format {
	var b strings.Builder
	fmt.Fprintf(&b, "%s partitions=%d lanes=%d signals=%v", c.source, partitions, lanes, signalNames)
	for r := range relations {
		fmt.Fprintf(&b, " %s", r)
	}
	if set.realtime != nil {
		fmt.Fprintf(&b, " realtime=%+v", *set.realtime)
	}
	if set.window != nil {
		w := *set.window
		w.MinEvents = 0
		fmt.Fprintf(&b, " window=%+v", w)
	}
	if set.runs != nil {
		fmt.Fprintf(&b, " runs=%+v", *set.runs)
	}
	if set.patterns != nil {
		fmt.Fprintf(&b, " patterns=%+v", *set.patterns)
	}
	return state.Format{Version: stateVersion, Depends: b.String()}
}

// Snapshot appends the incidents, the windows, and what they came from.
func (c *correlator) Snapshot(b []byte) ([]byte, error) { return state.Write(b, c.kept, c.state) }

// Restore goes on where a snapshot was taken.
func (c *correlator) Restore(b []byte) error {
	if err := state.Read(b, c.kept, c.state); err != nil {
		return fmt.Errorf("correlate: %w", err)
	}
	return nil
}

func (c *correlator) state(sc *state.Codec) {
	g := &graph{Codec: sc}
	g.observations.Least, g.incidents.Least, g.ailments.Least, g.refs.Least = 32, 32, 4, 2
	if c.realtime != nil {
		g.realtime(c.realtime)
	}
	if c.windows != nil {
		g.windows(c.windows)
	}
	if c.runs != nil {
		g.detector(c.runs)
	}
	if c.patterns != nil {
		g.learner(c.patterns)
	}
	for g.observations.Each(sc, g.observation) || g.incidents.Each(sc, g.incident) || g.ailments.Each(sc, g.ailment) || g.refs.Each(sc, g.ref) {
	}
	if sc.Reading() && sc.OK() {
		g.check()
	}
}

// graph is the codec of what points to each other.
type graph struct {
	*state.Codec
	observations state.Shared[observation]
	incidents    state.Shared[incident]
	ailments     state.Shared[ailment]
	refs         state.Shared[eventv1.EntityRef]
}

// check is about what only all of the state together shows.
func (g *graph) check() {
	for _, inc := range g.incidents.All() {
		g.Check(inc.merged == nil || inc.merged.merged == nil, "an incident that was merged twice")
		g.Check(inc.merged != nil || len(inc.events) > 0, "an incident without events")
		g.Check(inc.merged != nil || inc.revision == 0 || inc.toldRoot != nil, "an insight without a root")
	}
}

func (g *graph) realtime(r *realtime) {
	g.memory(r.memory)
	state.LRU(g.Codec, r.open, maxIncidents, func(key *string, inc **incident) {
		g.Text(key)
		g.incidents.Must(g.Codec, inc)
	})
	for _, list := range []*[]*incident{&r.followed, &r.changed, &r.watched, &r.absorbed, &r.unheard} {
		g.incidentsOf(list)
	}
	g.deadline(&r.next)
	g.ailing(&r.ailing)
	g.messages(&r.news)
	g.messages(&r.gone)
	state.Int(g.Codec, &r.goneAfter)
	g.clock(&r.clock)
	state.Int(g.Codec, &r.sweeps)
}

func (g *graph) detector(d *detector) {
	d.core.State(g.Codec)
	g.timeline(&d.timeline)
	g.messages(&d.gone)
	state.Int(g.Codec, &d.goneAfter)
}

func (g *graph) timeline(l *timeline) {
	g.clock(&l.clock)
	g.watermark(&l.watermark)
}

func (g *graph) learner(l *learner) {
	l.core.State(g.Codec)
	g.timeline(&l.timeline)
	g.messages(&l.gone)
	state.Int(g.Codec, &l.goneAfter)
}

func (g *graph) memory(m *memory) {
	state.Int(g.Codec, &m.now)
	state.LRU(g.Codec, m.entities, m.maxHeld/perEntity, func(key *string, e **entity) {
		g.Text(key)
		if g.Reading() {
			*e = &entity{}
			defer func() { m.held += (*e).held }()
		}
		g.entity(*e)
	})
}

func (g *graph) entity(e *entity) {
	state.Slice(g.Codec, &e.rings, func(r **ring) {
		if g.Reading() {
			*r = &ring{}
			defer func() { e.held += (*r).held }()
		}
		g.ring(*r)
	})
	state.Int(g.Codec, &e.seen)
	state.Int(g.Codec, &e.oldest)
	g.Bool(&e.lost)
}

func (g *graph) ring(r *ring) {
	g.signal(&r.of)
	state.Int(g.Codec, &r.n)
	state.Int(g.Codec, &r.held)
	if g.Check(0 <= r.held && r.held <= ringSize && r.held <= r.n, "a ring of other size"); !g.OK() {
		r.n, r.held = 0, 0
	}
	for i := r.n - r.held; i < r.n; i++ {
		g.observations.Must(g.Codec, &r.items[i%ringSize])
	}
}

func (g *graph) signal(s *signal) {
	state.Int(g.Codec, s)
	if g.Check(*s < signals, "a signal"); !g.OK() {
		*s = 0
	}
}

func (g *graph) relation(r *relation) {
	state.Int(g.Codec, r)
	if g.Check(*r < relations, "a relation"); !g.OK() {
		*r = 0
	}
}

func (g *graph) ailing(l *ailments) {
	state.Map(g.Codec, l.by, strings.Compare, func(key *string, list *[]*ailment) {
		g.Text(key)
		state.Slice(g.Codec, list, func(a **ailment) { g.ailments.Must(g.Codec, a) })
	})
	state.Int(g.Codec, &l.n)
}

func (g *graph) ailment(a *ailment) {
	g.Text(&a.self)
	g.Text(&a.uid)
	g.Text(&a.cluster)
	state.Slice(g.Codec, &a.scopes, g.Text)
	state.Int(g.Codec, &a.last)
	state.Int(g.Codec, &a.crash)
	g.incidents.Must(g.Codec, &a.inc)
}

func (g *graph) deadline(d *deadline) {
	state.Int(g.Codec, &d.seen)
	state.Int(g.Codec, &d.time)
}

// clock has its silence from the settings.
func (g *graph) clock(c *clock) {
	state.Int(g.Codec, &c.latest)
	state.Int(g.Codec, &c.votes)
	state.Int(g.Codec, &c.elsewhere)
	state.Int(g.Codec, &c.seen)
}

func (g *graph) observation(o *observation) {
	g.String(&o.id)
	g.Text(&o.source)
	g.Text(&o.kind)
	for _, v := range []*int64{&o.time, &o.seen, &o.onset, &o.arrived, &o.steady} {
		state.Int(g.Codec, v)
	}
	state.Int(g.Codec, &o.severity)
	g.signal(&o.signal)
	for _, v := range []*bool{&o.guessed, &o.located, &o.ended, &o.urgent} {
		g.Bool(v)
	}
	g.Text(&o.text)
	g.refs.Ref(g.Codec, &o.entity)
	g.refs.Ref(g.Codec, &o.subject)
	g.Text(&o.self)
	g.Text(&o.detail)
	for i := range o.keys {
		g.Text(&o.keys[i])
	}
	state.Slice(g.Codec, &o.services, g.Text)
	g.Text(&o.home)
	g.Text(&o.cluster)
	g.Text(&o.namespace)
	g.observations.Ref(g.Codec, &o.cause)
	g.cause(&o.link)
	g.incidents.Ref(g.Codec, &o.incident)
}

func (g *graph) cause(c *cause) {
	g.signal(&c.of)
	g.relation(&c.over)
	state.Int(g.Codec, &c.within)
}

// ref writes a reference field by field: there are many, and their texts repeat.
func (g *graph) ref(r *eventv1.EntityRef) {
	for _, v := range []*string{&r.Kind, &r.Namespace, &r.Name, &r.Uid, &r.ApiVersion, &r.Cluster, &r.Role} {
		g.Text(v)
	}
}

func (g *graph) incidentsOf(list *[]*incident) {
	state.Slice(g.Codec, list, func(inc **incident) { g.incidents.Must(g.Codec, inc) })
}

func (g *graph) observationsOf(list *[]*observation) {
	state.Slice(g.Codec, list, func(o **observation) { g.observations.Must(g.Codec, o) })
}

func (g *graph) messages(list *[]*eventv1.Event) {
	state.Slice(g.Codec, list, func(e **eventv1.Event) {
		state.Message(g.Codec, e)
		g.Check(*e != nil, "no event")
	})
}

func (g *graph) incident(i *incident) {
	g.String(&i.id)
	for _, v := range []*int64{&i.first, &i.last, &i.joined, &i.seen} {
		state.Int(g.Codec, v)
	}
	state.Int(g.Codec, &i.count)
	state.Slice(g.Codec, &i.kinds, g.linkKind)
	for _, v := range []*bool{&i.spell, &i.closed, &i.dirty, &i.watched} {
		g.Bool(v)
	}
	g.observations.Ref(g.Codec, &i.shared)
	g.observationsOf(&i.events)
	state.Slice(g.Codec, &i.affected, func(r **eventv1.EntityRef) { g.refs.Must(g.Codec, r) })
	g.told(i)
	state.Slice(g.Codec, &i.ailing, func(a **ailment) { g.ailments.Must(g.Codec, a) })
	state.Slice(g.Codec, &i.healed, g.Text)
	g.observations.Ref(g.Codec, &i.mender)
	g.deadline(&i.quiet)
	state.Int(g.Codec, &i.checks)
	state.Int(g.Codec, &i.swept)
	if i.merged != nil {
		i.merged = i.find() // so that there is one step at most
	}
	g.incidents.Ref(g.Codec, &i.merged)
	g.incidents.Ref(g.Codec, &i.partOf)
}

func (g *graph) linkKind(k *linkKind) {
	g.signal(&k.cause)
	g.signal(&k.effect)
	g.relation(&k.over)
}

func (g *graph) told(i *incident) {
	state.Int(g.Codec, &i.revision)
	state.Int(g.Codec, &i.toldCount)
	g.observations.Ref(g.Codec, &i.toldRoot)
	g.String(&i.toldTitle)
	state.Int(g.Codec, &i.toldSeverity)
	state.Int(g.Codec, &i.toldAffected)
	g.deadline(&i.mute)
	state.Message(g.Codec, &i.recalled)
}

func (g *graph) windows(w *windows) {
	state.Map(g.Codec, w.groups, func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.subject, b.subject))
	}, func(key *groupKey, groups *[]*group) {
		g.groupKey(key)
		state.Slice(g.Codec, groups, func(p **group) {
			if g.Reading() {
				*p = &group{key: *key}
			}
			g.group(*p)
		})
	})
	for _, v := range []*int{&w.count, &w.held} {
		state.Int(g.Codec, v)
	}
	for _, v := range []*int64{&w.passed, &w.earliest, &w.due} {
		state.Int(g.Codec, v)
	}
	g.watermark(&w.watermark)
}

func (g *graph) groupKey(key *groupKey) {
	state.Int(g.Codec, &key.start)
	g.Text(&key.subject)
}

// group has its key from the map that it is in.
func (g *graph) group(p *group) {
	g.Text(&p.cluster)
	state.Int(g.Codec, &p.part)
	g.observationsOf(&p.events)
	state.Int(g.Codec, &p.opened)
	g.Bool(&p.behind)
	state.Int(g.Codec, &p.due)
}

func (g *graph) watermark(w *watermark) {
	state.Slice(g.Codec, &w.inputs, func(lanes *[]writer) {
		state.Slice(g.Codec, lanes, func(lane *writer) {
			state.Slice(g.Codec, (*[]partitionClock)(lane), func(c *partitionClock) {
				c.silence = w.silence
				g.partitionClock(c)
			})
			g.Check(slices.IsSortedFunc(*lane, func(a, b partitionClock) int { return cmp.Compare(a.partition, b.partition) }), "clocks of partitions in no order")
		})
	})
	state.Int(g.Codec, &w.begun)
	g.sources(w.sources, w.silence)
}

func (g *graph) partitionClock(c *partitionClock) {
	state.Int(g.Codec, &c.partition)
	g.clock(&c.clock)
}

func (g *graph) sources(l *simplelru.LRU[string, *clock], silence int64) {
	state.LRU(g.Codec, l, maxSources, func(key *string, c **clock) {
		if g.Reading() {
			*c = &clock{silence: silence}
		}
		g.String(key)
		g.clock(*c)
	})
}
