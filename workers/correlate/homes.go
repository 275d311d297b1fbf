package correlate

import "slices"

// successor is the incident of o, whose cause x is in one that takes no more: the one that is open
// where x comes from, or a new one that is open there for what follows.
func (r *realtime) successor(x, o *observation) *incident {
	key := origin(x).home
	if inc := r.openAt(key, o.time); inc != nil {
		return inc
	}
	inc := r.newIncident(o)
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
	if rules[o.signal].class != symptom {
		return nil
	}
	if claims(o) {
		if inc := r.openAt(o.home, o.time); inc != nil {
			return inc
		}
	}
	if telling(o) && !o.ended {
		return r.newIncident(o)
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
		if o.link.over == sameNode && o.cause.entity.GetKind() == "Node" && rules[o.cause.signal].class == symptom {
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
	inc := r.newIncident(o)
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
	r.ail(inc, o)
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
	if other != inc && len(other.affected) <= 1 && inc.takes(other, at) && other.near(at, r.idle) {
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
