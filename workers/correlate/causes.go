package correlate

import "slices"

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
func (r *realtime) explain(o *observation, before *observation) {
	if before != nil && before.cause != nil { // it goes on for the reason that it has
		r.link(o, before.cause, before.link)
		return
	}
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
	return x != o && o.onset-x.onset >= -int64(slack) && o.onset-x.time <= within && !foreign(x, o, c.over) &&
		x.depth() < maxChain-1 && origin(x) != o && !r.outlived(x, o)
}

// outlived says whether the pod of o was there before x changed its workload. Such a change makes new pods;
// what an old one goes through has another reason.
func (r *realtime) outlived(x, o *observation) bool {
	if rules[x.signal].class != change || x.entity.GetKind() == "Node" || o.keys[samePod] == "" {
		return false
	}
	for y := range r.memory.all(o.keys[samePod]) {
		if y.onset < x.time-int64(slack) && samePodAs(y, o) {
			return true
		}
	}
	return o.onset < x.time-int64(slack)
}

// samePodAs says whether two observations of pods of one name are of one pod. Pods of a StatefulSet take the
// name of the one before; other names come once.
func samePodAs(a, b *observation) bool {
	ua, ub := a.entity.GetUid(), b.entity.GetUid()
	if ua != "" && ub != "" {
		return ua == ub
	}
	return b.subject.GetKind() != "StatefulSet" && b.subject.GetKind() != "Pod" && !foreign(a, b, samePod)
}

// likelier says whether a is rather the cause of o than b is: it is nearer in time. A call that does not tell
// in which namespace is rather one in its own.
func likelier(over relation, a, b, o *observation) bool {
	if own := o.entity.GetNamespace(); over == sameService && o.namespace == "" {
		if in := a.namespace == own; in != (b.namespace == own) {
			return in
		}
	}
	return abs(o.onset-a.time) < abs(o.onset-b.time)
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
					if x.cause == nil && (x.onset >= o.time || !mutual) && r.reaches(c, o, x) && !slices.Contains(out, x) {
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

// link makes x the cause of o, and one incident of both, as far as one takes them. Changes alone are none.
func (r *realtime) link(o, x *observation, c cause) {
	o.cause, o.link = x, c
	r.links.Inc()
	if rules[x.signal].class == change && rules[o.signal].class == change { // nothing is broken
		return
	}
	inc, own := x.incident.find(), o.incident.find()
	switch {
	case inc == nil && own == nil:
		inc = r.newIncident(x)
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
	o.incident.find().linked(o)
}
