package correlate

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
)

const (
	// slack is how far a cause may seem to lie behind its effect: Kubernetes event times
	// have whole seconds, and clocks differ.
	slack = 2 * time.Second
	// manyErrors failed requests to one service within errorSpell are an incident without
	// any known cause.
	manyErrors   = 10
	errorSpell   = time.Minute
	maxIncidents = 10_000
)

// realtime finds causes and keeps incidents.
type realtime struct {
	memory *memory
	within int64
	idle   int64
	// open finds the incident of a workload or node by key.
	open *simplelru.LRU[string, *incident]
	// followed are the incidents that people were told of and that are not over.
	followed []*incident
	changed  []*incident // since take was called, in order
	// absorbed are incidents that people were told of and that went into others.
	absorbed []*incident
	clock    clock // event time
	// effects is, for a kind of event, what it may cause.
	effects [signals][]signal
	links   prometheus.Counter
	evicted prometheus.Counter
	// incidents is the number of followed ones.
	incidents prometheus.Gauge
	sweeps    uint32 // calls of ended
}

func newRealtime(c *config.CorrelateRealtime, m prometheus.Registerer) *realtime {
	r := &realtime{
		memory: newMemory(2*c.Within.D(), c.MaxEntities, m), clock: clock{silence: int64(c.IncidentIdle)}, within: int64(c.Within), idle: int64(c.IncidentIdle),
		links:   counter(m, "millrace_correlate_links_total", "Causes found."),
		evicted: counter(m, "millrace_correlate_incidents_evicted_total", "Open incidents forgotten for lack of room."),

		incidents: gauge(m, "millrace_correlate_incidents", "Incidents that were told and are not over."),
	}
	r.open, _ = simplelru.NewLRU[string, *incident](maxIncidents, nil) // the size is positive
	for effect := range signals {
		for _, c := range rules[effect].causes {
			if !slices.Contains(r.effects[c.of], effect) {
				r.effects[c.of] = append(r.effects[c.of], effect)
			}
		}
	}
	return r
}

// take looks at one notable event. Afterwards o.incident says what it belongs to, if anything.
func (r *realtime) take(o *observation) {
	r.clock.see(o.time, o.seen)
	r.memory.forget(o.seen)
	for _, x := range r.locate(o) {
		if x.cause == nil {
			r.explain(x)
		}
	}
	r.explain(o)
	for _, late := range r.unexplained(o) {
		r.explainBy(late, o)
	}
	inc := r.incidentOf(o)
	if inc != nil {
		r.join(inc, o)
	}
	r.memory.remember(o)
}

// locate shares the node that one event of a pod names with the others, since a pod never
// moves, and returns those that were seen before and learn it from o.
func (r *realtime) locate(o *observation) (learned []*observation) {
	if o.keys[sameNode] != "" && !r.memory.lost(o.keys[samePod]) {
		return nil
	}
	for x := range r.memory.all(o.keys[samePod]) {
		switch {
		case x.entity.GetUid() != o.entity.GetUid(), foreign(x, o, samePod): // another pod of the same name, elsewhere
		case o.keys[sameNode] == "" && x.located:
			o.keys[sameNode] = x.keys[sameNode]
		case x.keys[sameNode] == "" && o.located:
			x.keys[sameNode] = o.keys[sameNode]
			r.memory.place(x.keys[sameNode], x)
			learned = append(learned, x)
		}
	}
	return learned
}

// explain looks for the cause of o: the first rule that has one, the nearest in time.
func (r *realtime) explain(o *observation) {
	for _, c := range rules[o.signal].causes {
		var best *observation
		for x := range r.memory.of(o.keys[c.over], c.of) {
			if r.reaches(c, x, o) && (best == nil || likelier(c.over, x, best, o)) {
				best = x
			}
		}
		if best != nil {
			r.link(o, best, c)
			return
		}
	}
}

// reaches says whether x may have caused o by rule c, as far as time and place go.
func (r *realtime) reaches(c cause, x, o *observation) bool {
	within := int64(c.within)
	if within == 0 {
		within = r.within
	}
	delta := o.time - x.time
	return x != o && delta >= -int64(slack) && delta <= within && !foreign(x, o, c.over) && x.depth() < maxChain-1 && origin(x) != o
}

// likelier says whether a is rather the cause of o than b is: it is nearer in time. A call that does not tell
// in which namespace is rather one in its own.
func likelier(over relation, a, b, o *observation) bool {
	if own := o.entity.GetNamespace(); over == sameService && o.namespace == "" {
		if in := a.namespace == own; in != (b.namespace == own) {
			return in
		}
	}
	return abs(o.time-a.time) < abs(o.time-b.time)
}

func abs(n int64) int64 { return max(n, -n) }

// unexplained are the remembered effects that o may be the cause of, and that have none:
// it arrives late. Of two kinds that may cause each other, only the later one is an effect.
func (r *realtime) unexplained(o *observation) []*observation {
	var out []*observation
	for _, effect := range r.effects[o.signal] {
		mutual := slices.Contains(r.effects[effect], o.signal)
		for _, c := range rules[effect].causes {
			if c.of != o.signal {
				continue
			}
			for key := range o.under(c.over) {
				for x := range r.memory.of(key, effect) {
					if x.cause == nil && (x.time >= o.time || !mutual) && r.reaches(c, o, x) && !slices.Contains(out, x) {
						out = append(out, x)
					}
				}
			}
		}
	}
	return out
}

// explainBy makes o the cause of a remembered effect.
func (r *realtime) explainBy(effect, o *observation) {
	for _, c := range rules[effect.signal].causes {
		if c.of != o.signal || !r.reaches(c, o, effect) {
			continue
		}
		for key := range o.under(c.over) {
			if effect.keys[c.over] == key {
				r.link(effect, o, c)
				return
			}
		}
	}
}

// link makes x the cause of o, and one incident of both, as far as one takes them.
func (r *realtime) link(o, x *observation, c cause) {
	o.cause, o.link = x, c
	r.links.Inc()
	inc, own := x.incident.find(), o.incident.find()
	switch {
	case inc == nil && own == nil:
		inc = newIncident(x)
	case inc == nil && own.closed: // it explains what is over: no news
		return
	case inc == nil:
		inc = own
	case own == nil && inc.full(o.time): // the cause stays where people were told of it
		inc = r.successor(x, o)
	}
	for _, e := range []*observation{x, o} {
		if e.incident == nil || inc.takes(e.incident.find(), o.time) {
			r.join(inc, e)
		}
	}
	o.incident.find().links++
}

// successor is the incident of o, whose cause x is in one that takes no more: the one that is open
// where x comes from, or a new one that is open there for what follows.
func (r *realtime) successor(x, o *observation) *incident {
	key := origin(x).home
	if inc := r.openAt(key, o.time); inc != nil {
		return inc
	}
	inc := newIncident(o)
	if key != "" {
		r.keep(key, inc)
	}
	return inc
}

// openAt is the incident that is open under a key, if it takes an event of a time.
func (r *realtime) openAt(key string, at int64) *incident {
	if inc, ok := r.open.Get(key); ok {
		if inc = inc.find(); !inc.full(at) && inc.near(at, r.idle) {
			return inc
		}
	}
	return nil
}

// incidentOf is the incident of o without a new link: the one it has, else the open one of
// its workload, else a new one when it is worth that.
func (r *realtime) incidentOf(o *observation) *incident {
	if own := o.incident.find(); own != nil {
		if o.signal == signalErrorSpan && own.untold() {
			if inc := r.spell(o); inc != nil && inc.takes(own, o.time) {
				return inc
			}
		}
		return own
	}
	rule := &rules[o.signal]
	if claims(o) {
		if inc := r.openAt(o.home, o.time); inc != nil {
			return inc
		}
	}
	if rule.alone {
		return newIncident(o)
	}
	if o.signal == signalErrorSpan {
		return r.spell(o)
	}
	return nil
}

// claims says whether o makes an incident that of its workload (or node). Changes, failed
// requests and logs do not: a caller that sees errors has no incident of its own. Nor does
// what a node did to a pod: the other pods of a workload run elsewhere.
func claims(o *observation) bool {
	return rules[o.signal].rank > 1 && o.home != "" && !byNode(o)
}

// byNode says whether a node is in the chain of causes of o.
func byNode(o *observation) bool {
	for range maxChain {
		if o.cause == nil {
			return false
		}
		if o.link.over == sameNode && o.cause.entity.GetKind() == "Node" {
			return true
		}
		o = o.cause
	}
	return false
}

// spell is the incident of many failed requests to one service, which o is one of, or nil.
func (r *realtime) spell(o *observation) *incident {
	if o.home == "" {
		return nil
	}
	if inc := r.openAt(o.home, o.time); inc != nil {
		return inc
	}
	var others []*observation
	for _, key := range []string{o.home, o.keys[sameService]} {
		for x := range r.memory.of(key, signalErrorSpan) {
			if own := x.incident.find(); (own == nil || own.untold()) && abs(o.time-x.time) <= int64(errorSpell) && !foreign(x, o, sameService) && !slices.Contains(others, x) {
				others = append(others, x)
			}
		}
	}
	if len(others)+1 < manyErrors {
		return nil
	}
	inc := newIncident(o)
	inc.spell = true
	for _, x := range others {
		if own := x.incident.find(); own == nil || inc.takes(own, o.time) {
			r.join(inc, x)
		}
	}
	r.keep(o.home, inc)
	return inc
}

// keep makes an incident the one that is open under a key.
func (r *realtime) keep(key string, inc *incident) {
	if r.open.Add(key, inc) {
		r.evicted.Inc()
	}
}

func (r *realtime) join(inc *incident, o *observation) {
	if own := o.incident.find(); own != nil && own != inc {
		r.merge(inc, own)
	}
	inc.add(o)
	inc.joined = max(inc.joined, r.clock.latest)
	if claims(o) {
		r.absorb(inc, o.home, o.time)
		r.keep(o.home, inc)
	}
	r.touch(inc)
}

// absorb merges the incident that is open under a key into inc, unless one of them is over
// or it is about more than that key: two incidents that share a workload stay two.
func (r *realtime) absorb(inc *incident, key string, at int64) {
	other, ok := r.open.Get(key)
	if !ok {
		return
	}
	other = other.find()
	if other != inc && len(other.affected) == 1 && inc.takes(other, at) && other.near(at, r.idle) {
		r.merge(inc, other)
	}
}

func (r *realtime) merge(into, from *incident) {
	if into == from {
		return
	}
	if into.revision > 0 && from.revision > 0 { // people know both: one of them ends
		lost := *from
		if from.revision > into.revision {
			lost = *into
		}
		lost.events, lost.affected, lost.partOf = slices.Clone(lost.events), slices.Clone(lost.affected), into
		r.absorbed = append(r.absorbed, &lost)
	}
	into.merge(from)
	r.touch(into)
}

func (r *realtime) touch(inc *incident) {
	if !slices.Contains(r.changed, inc) {
		r.changed = append(r.changed, inc)
	}
}

// changes returns the incidents that changed, once each.
func (r *realtime) changes() []*incident {
	var out []*incident
	for _, inc := range r.changed {
		if inc = inc.find(); !slices.Contains(out, inc) {
			out = append(out, inc)
		}
	}
	clear(r.changed)
	r.changed = r.changed[:0]
	return out
}

// follow has the end of an incident told, now that its beginning was. At most maxIncidents
// are followed: the end of the oldest goes untold then.
func (r *realtime) follow(inc *incident) {
	if len(r.followed) == maxIncidents {
		r.evicted.Inc()
		r.followed = slices.Delete(r.followed, 0, 1)
	}
	r.followed = append(r.followed, inc)
}

// ended returns the followed incidents that are over, and forgets them. It follows
// incidents, not what is open: one that is full or idle has a successor under its key.
func (r *realtime) ended(now int64) (out []*incident) {
	r.memory.forget(now)
	r.sweeps++
	on := r.followed[:0]
	for _, inc := range r.followed {
		inc = inc.find() // the end of one that was absorbed is told when it is
		switch {
		case inc.swept == r.sweeps: // several went into it
		case r.over(inc, now):
			inc.closed = true
			out = append(out, inc)
		default:
			on = append(on, inc)
		}
		inc.swept = r.sweeps
	}
	clear(r.followed[len(on):])
	r.followed = on
	for _, key := range r.open.Keys() {
		if inc, _ := r.open.Peek(key); r.over(inc.find(), now) {
			r.open.Remove(key)
		}
	}
	r.incidents.Set(float64(len(r.followed)))
	return out
}

// over says whether an incident saw no event for the idle time: by the times of events, or,
// when none come that would move those, by when they were stored. Where events come late, it is
// event time that goes on, not theirs.
func (r *realtime) over(inc *incident, now int64) bool {
	return r.clock.latest-max(inc.last, inc.joined) > r.idle || now-inc.seen > r.idle
}

// stale are the followed incidents that have grown since they were told.
func (r *realtime) stale() (out []*incident) {
	for _, inc := range r.followed {
		if inc = inc.find(); inc.count > inc.toldCount && !slices.Contains(out, inc) {
			out = append(out, inc)
		}
	}
	return out
}
