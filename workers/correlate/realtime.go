package correlate

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
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
	changed  []*incident // since the last batch, in order
	// watched are the incidents that wait for a deadline, of which next is the first.
	watched []*incident
	next    deadline
	// ailing finds what is ill by what may recover.
	ailing ailments
	voice  voice
	// news are the insights to publish.
	news []*eventv1.Event
	// absorbed are incidents that people were told of and that went into others.
	absorbed []*incident
	// gone are insights that were open at a takeover and that its replay showed nothing of, to be closed later than goneAfter.
	gone      []*eventv1.Event
	goneAfter int64
	unheard   []*incident // that the replay told of, and no output does
	clock     clock       // event time
	// effects is, for a kind of event, what it may cause.
	effects [signals][]signal
	links   prometheus.Counter
	evicted prometheus.Counter
	// incidents is the number of followed ones.
	incidents prometheus.Gauge
	sweeps    uint32 // calls of ended
}

func newRealtime(c *config.CorrelateRealtime, v voice, m prometheus.Registerer) *realtime {
	r := &realtime{
		voice: v, next: never, ailing: ailments{by: map[string][]*ailment{}},
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
	r.advance(o.seen)
	if rules[o.signal].class == recovery {
		r.recover(o)
		r.memory.rememberRecovery(o)
		return
	}
	learned := r.locate(o)
	before := r.goesOn(o)
	o.arrived, o.ended = r.in(0).time, r.mendedBefore(o)
	for _, x := range learned {
		if x.cause == nil {
			r.explain(x, nil)
		}
	}
	r.explain(o, before)
	for _, late := range r.unexplained(o) {
		r.explainBy(late, o)
	}
	if inc := r.incidentOf(o); inc != nil {
		r.join(inc, o)
		r.share(o)
	}
	r.memory.remember(o)
}

// goesOn looks for the observation of which o is the continuation: the same state of the same object, without
// a recovery in between. It sets the onset of o, which is never before the last recovery.
func (r *realtime) goesOn(o *observation) (before *observation) {
	if !rules[o.signal].lasts || o.self == "" {
		return nil
	}
	key, recovered := o.memoryKey(), int64(0)
	for _, s := range [...]signal{signalDeleted, signalRecovered} {
		for x := range r.memory.of(key, s) {
			if x.time <= o.time && ends(x, o) {
				recovered = max(recovered, x.time)
			}
		}
	}
	if o.onset < recovered {
		o.onset = o.time
	}
	for x := range r.memory.of(key, o.signal) {
		if x.self != o.self || !sameUID(x, o) || differ(x.cluster, o.cluster) || x.time > o.time || x.time <= recovered {
			continue
		}
		if o.time-x.time <= int64(steadyPause) {
			o.steady = min(o.steady, x.steady)
		}
		if before == nil || x.onset < before.onset {
			before = x
		}
	}
	if before != nil {
		o.onset = min(o.onset, before.onset)
	}
	return before
}

// memoryKey is where the other observations of the same object are remembered.
func (o *observation) memoryKey() string {
	switch o.entity.GetKind() {
	case "Pod":
		return o.keys[samePod]
	case "Node":
		return o.keys[sameNode]
	}
	return o.keys[sameWorkload]
}

func sameUID(a, b *observation) bool { return !differ(a.entity.GetUid(), b.entity.GetUid()) }
