package correlate

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

const (
	maxIncidentEvents = 1000
	maxIncidentLife   = 2 * time.Hour
	maxEvidence       = 20
	maxAffected       = 20
)

// requestRank is the rank of failed requests, and of the errors that are logged about them.
const requestRank = 1

// incident is what belongs together by strong links.
type incident struct {
	id     string
	first  int64 // event times
	last   int64
	joined int64 // event time when the last event came to it
	seen   int64 // the stream time of the last event
	count  uint32
	kinds  []linkKind // the kinds of causal links in it
	spell  bool       // it began with many failed requests
	// shared names the dependency for which several workloads are one incident; nil = none.
	shared *observation
	closed bool // its end was told
	// events are the evidence: all that take part in a link first, then the oldest.
	events   []*observation
	affected []*eventv1.EntityRef

	// What was told last, and until when nothing more is.
	revision     uint32
	toldCount    uint32
	toldRoot     *observation
	toldTitle    string
	toldSeverity int32
	toldAffected int
	mute         deadline
	recalled     *eventv1.Event // what was told before a takeover; nil = all is known
	dirty        bool           // it may say more than was told

	// What is ill, what is well again, and by what; until quiet it may fall ill again.
	ailing  []*ailment
	healed  []string
	mender  *observation
	quiet   deadline
	checks  int
	watched bool

	swept uint32 // see ended

	merged *incident // into which this one went
	partOf *incident // the same, of a copy that is told for the last time
}

// find follows merges, and shortens the way for the next time (path halving).
func (i *incident) find() *incident {
	for i != nil && i.merged != nil {
		if i.merged.merged != nil {
			i.merged = i.merged.merged
		}
		i = i.merged
	}
	return i
}

// linkKind is a kind of causal link.
type linkKind struct {
	cause, effect signal
	over          relation
}

// linked notes the kind of the link from o to its cause. What repeats is no further evidence.
func (i *incident) linked(o *observation) {
	kind := linkKind{o.cause.signal, o.signal, o.link.over}
	if !slices.Contains(i.kinds, kind) {
		i.kinds = append(i.kinds, kind)
	}
}

// newIncident begins with the event that made it worth telling. Events need not have an id.
//
// The id follows from the event and the pipeline, not from the stage's name or from when the event was stored there: a
// stage that is renamed, or reads everything again, publishes the same ids.
func (r *realtime) newIncident(o *observation) *incident {
	id := event.NewID("incident", r.voice.pipeline, o.source, o.id, o.kind, subjectKey(o.subject), strconv.FormatInt(o.time, 10))
	return &incident{id: id, first: o.time, last: o.time, seen: o.seen}
}

// nameKey is equal for references of the same name, in whatever cluster.
func nameKey(r *eventv1.EntityRef) string {
	return r.GetKind() + "/" + r.GetNamespace() + "/" + r.GetName()
}

// subjectKey is equal for references to the same subject.
func subjectKey(r *eventv1.EntityRef) string {
	key := nameKey(r)
	if r.GetCluster() != "" {
		key += "\x00" + r.GetCluster()
	}
	return key
}

func (i *incident) add(o *observation) {
	if o.incident.find() == i {
		return
	}
	o.incident = i
	i.count++
	i.first, i.last, i.seen = min(i.first, o.time), max(i.last, o.time), max(i.seen, o.seen)
	i.keep(o)
	if rules[o.signal].class == symptom { // a change concerns nobody as long as it breaks nothing
		i.affect(o.subject)
	}
}

// affect adds a workload to those that are affected, unless it is one of them.
func (i *incident) affect(subject *eventv1.EntityRef) {
	known := func(a *eventv1.EntityRef) bool {
		return a.GetName() == subject.GetName() && a.GetNamespace() == subject.GetNamespace() && a.GetKind() == subject.GetKind() &&
			!differ(a.GetCluster(), subject.GetCluster())
	}
	if len(i.affected) < maxAffected && !slices.ContainsFunc(i.affected, known) {
		i.affected = append(i.affected, subject)
	}
}

// keep holds o as evidence. When there is no room the least telling event goes: of those
// that are nobody's cause, the newest of the lowest rank.
func (i *incident) keep(o *observation) {
	i.events = append(i.events, o)
	if len(i.events) <= 2*maxEvidence {
		return
	}
	causes := map[*observation]bool{}
	for _, e := range i.events {
		causes[e.cause] = true
	}
	victim := -1
	for at, e := range i.events {
		if !causes[e] && (victim < 0 || rules[e.signal].rank <= rules[i.events[victim].signal].rank) {
			victim = at
		}
	}
	i.events = slices.Delete(i.events, max(victim, 0), max(victim, 0)+1)
}

// full says whether the incident takes no more events.
func (i *incident) full(at int64) bool {
	return i.closed || i.count >= maxIncidentEvents || at-i.first > int64(maxIncidentLife)
}

// untold says whether the incident is no more than the failed requests of a trace, which nobody is
// told of.
func (i *incident) untold() bool {
	return i.revision == 0 && !i.spell && !slices.ContainsFunc(i.events, func(o *observation) bool {
		return rules[o.signal].rank != requestRank || rules[origin(o).signal].rank != requestRank
	})
}

// near says whether a time is no further than idle from the incident, on either side: input
// that is played again may be older than what is open.
func (i *incident) near(at, idle int64) bool { return at >= i.first-idle && at <= i.last+idle }

// takes says whether the incident and another one can be one.
func (i *incident) takes(other *incident, at int64) bool {
	return !i.full(at) && (i == other || (!other.full(at) && i.count+other.count <= maxIncidentEvents))
}

// merge takes everything of other, which must be a different incident.
func (i *incident) merge(other *incident) {
	i.count += other.count
	for _, kind := range other.kinds {
		if !slices.Contains(i.kinds, kind) {
			i.kinds = append(i.kinds, kind)
		}
	}
	i.spell = i.spell || other.spell
	i.shared = cmp.Or(i.shared, other.shared)
	i.first, i.last, i.seen = min(i.first, other.first), max(i.last, other.last), max(i.seen, other.seen)
	i.joined = max(i.joined, other.joined)
	for _, o := range other.events {
		o.incident = i
		i.keep(o)
	}
	for _, a := range other.affected {
		i.affect(a)
	}
	if other.revision > i.revision { // what people were told already keeps its id
		i.id, i.revision = other.id, other.revision
		i.toldRoot, i.toldCount, i.toldAffected = other.toldRoot, other.toldCount, other.toldAffected
		i.toldTitle, i.toldSeverity, i.mute, i.recalled = other.toldTitle, other.toldSeverity, other.mute, other.recalled
	}
	i.ailing = append(i.ailing, other.ailing...)
	i.healed = append(i.healed, other.healed...)
	if i.mender == nil || other.mender != nil && other.mender.seen > i.mender.seen {
		i.mender, i.quiet = cmp.Or(other.mender, i.mender), other.quiet
	}
	other.merged, other.events, other.affected, other.ailing = i, nil, nil, nil
}

// root is where the chain of causes begins: of the events without a known cause that
// explain others, the one that explains most; the earliest of equals. Without any link it is
// the earliest event of the highest rank. What people were told stands until another explains more
// than one event more: two that draw level would change places with every event.
func (i *incident) root() *observation {
	explains := map[*observation]int{}
	for _, o := range i.events {
		if o.cause != nil {
			explains[origin(o)]++
		}
	}
	candidates := i.events
	for _, o := range i.events { // a cause may be in an incident that took no more
		if from := origin(o); from != o && !slices.Contains(candidates, from) {
			candidates = append(slices.Clip(candidates), from)
		}
	}
	root := slices.MinFunc(candidates, func(a, b *observation) int {
		return cmp.Or(cmp.Compare(explains[b], explains[a]), cmp.Compare(rank(b, explains), rank(a, explains)),
			cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id))
	})
	if told := i.toldRoot; explains[told] > 0 && explains[root] <= explains[told]+1 && slices.Contains(candidates, told) {
		return told
	}
	return root
}

func rank(o *observation, explains map[*observation]int) int {
	if len(explains) > 0 {
		return 0
	}
	return rules[o.signal].rank
}

// origin follows causes to the first; maxChain guards against a circle.
func origin(o *observation) *observation {
	for range maxChain {
		if o.cause == nil {
			return o
		}
		o = o.cause
	}
	return o
}

// maxChain bounds chains of causes. A failed probe causes a restart and a restart a failed
// probe, for days: without it, each would keep the one before in memory.
const maxChain = 16

// depth is how many causes lie behind o, as far as maxChain.
func (o *observation) depth() (n int) {
	for ; o.cause != nil && n < maxChain; n++ {
		o = o.cause
	}
	return n
}

// symptom is the event that names the incident: the highest rank, then one that says more than its kind, then the
// earliest.
func (i *incident) symptom() *observation {
	return slices.MaxFunc(i.events, func(a, b *observation) int {
		return cmp.Or(cmp.Compare(rules[a.signal].rank, rules[b.signal].rank), cmp.Compare(min(len(a.detail), 1), min(len(b.detail), 1)),
			cmp.Compare(b.time, a.time), cmp.Compare(b.id, a.id))
	})
}
