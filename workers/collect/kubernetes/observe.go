package kubernetes

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/collect"
)

// observer turns what the watches deliver into events, and hands them on in order.
type observer struct {
	cluster string
	now     func() time.Time
	// since is the first start of the collector less its history: what happened before it
	// is taken as known.
	since time.Time
	out   chan<- collect.Item
	done  <-chan struct{}

	// history is how far back a kind is told that is listed later than the others.
	history time.Duration
	// forbidden tells whether the right to list a kind is missing.
	forbidden func(kind string) bool

	mu     sync.Mutex
	ledger *ledger
	// waiting are the kinds that have not been listed yet; unlisted those that were not by any
	// start before either.
	waiting, unlisted map[string]bool
	// late is as in the head.
	late map[string]time.Time
	// changed says that late is not as in the last checkpoint.
	changed bool
	// upgraded is set when an earlier release wrote the checkpoint: from when on the aspects that it
	// did not know are published.
	upgraded time.Time

	owners owners
	// templates are what the specifications of workloads say, to name what changes.
	templates templates
	// starting are the pods that run and were never ready.
	starting map[string]*beginning
	// deadlines are the progress deadlines of Deployments in seconds.
	deadlines map[string]int32
	// lone are the ReplicaSets without a controller that wait to be read.
	lone map[string]loneSet
}

func newObserver(cluster string, now func() time.Time, since time.Time, l *ledger, out chan<- collect.Item) *observer {
	return &observer{
		cluster: cluster, now: now, since: since, ledger: l, out: out,
		late: map[string]time.Time{}, waiting: map[string]bool{}, unlisted: map[string]bool{},
		owners: owners{replicaSets: map[string]ref{}, jobs: map[string]ref{}}, templates: templates{}, starting: map[string]*beginning{}, deadlines: map[string]int32{}, lone: map[string]loneSet{},
	}
}

// begin is called before the objects of a list are observed.
func (o *observer) begin(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if since, ok := o.late[kind]; ok && since.IsZero() {
		o.late[kind], o.changed = o.now().Add(-o.history), true
	}
}

// sinceOf is since for a kind.
func (o *observer) sinceOf(kind string) time.Time {
	if since, ok := o.late[kind]; ok {
		return since
	}
	return o.since
}

// observe publishes what is new about one object. It blocks while the publisher is busy,
// which holds up the watches.
func (o *observer) observe(kind string, object metav1.Object, find func(past) []finding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	uid, since := string(object.GetUID()), o.sinceOf(kind)
	findings := find(past{
		record: o.ledger.get(uid), old: object.GetCreationTimestamp().Time.Before(since), first: o.waiting[kind],
	})
	r := o.ledger.see(uid, kind)
	if kind != kindEvent {
		owner, workload := controllerOf(object), ref("")
		if kind == kindPod || kind == kindJob {
			workload = o.owners.workloadOf(owner)
		}
		o.ledger.know(uid, r, nameOf(object), owner, workload)
	}
	o.publish(kind, uid, findings, since)
}

// nameOf is [<namespace>/]<name>.
func nameOf(o metav1.Object) string {
	if o.GetNamespace() == "" {
		return text(o.GetName(), maxName)
	}
	return o.GetNamespace() + "/" + text(o.GetName(), maxName)
}

// publish hands on the findings about one object that are no history.
func (o *observer) publish(kind, uid string, findings []finding, since time.Time) {
	now := o.now()
	var events []*eventv1.Event
	size, whole := 0, isWorkload(kind)
	for _, f := range findings {
		o.ledger.set(uid, kind, storedAspect(f.aspect), f.value)
		if f.event == nil || f.history(since, o.upgraded) {
			continue
		}
		e := o.complete(f, uid, now)
		n := proto.Size(e)
		// The changes of a workload carry one value: a crash between two frames would lose some.
		if !whole && size+n > collect.MaxFrameBytes && len(events) > 0 {
			o.hand(collect.Item{Events: events})
			events, size = nil, 0
		}
		events = append(events, e)
		size += n
	}
	if len(events) > 0 {
		o.hand(collect.Item{Events: events})
	}
}

// hand gives an item to the publisher, unless the collector ends.
func (o *observer) hand(i collect.Item) {
	select {
	case o.out <- i:
	case <-o.done:
	}
}

// complete fills in what all events have in common.
func (o *observer) complete(f finding, uid string, now time.Time) *eventv1.Event {
	e := f.event
	e.Id = eventID(uid, f.aspect, f.value)
	e.ObservedTimeUnixNano = uint64(now.UnixNano())
	if e.TimeUnixNano == 0 {
		e.TimeUnixNano = e.ObservedTimeUnixNano
	}
	e.SeverityText = severityText(e.SeverityNumber)
	e.Source = "/clusters/" + o.cluster + "/" + e.Source
	e.Related = append(o.relatedOf(e, uid), e.Related...)
	e.Subject = subjectOf(e.Entity)
	e.Entity.Cluster = o.cluster
	e.Resource = append([]*eventv1.KeyValue{stringValue("k8s.cluster.name", o.cluster)}, e.Resource...)
	for _, related := range e.Related {
		related.Cluster = o.cluster
	}
	boundTexts(e)
	return e
}

func subjectOf(e *eventv1.EntityRef) string {
	if e.Namespace == "" {
		return e.Kind + "/" + e.Name
	}
	return e.Kind + "/" + e.Namespace + "/" + e.Name
}

func severityText(number int32) string {
	switch number {
	case severityWarn:
		return "WARN"
	case severityError:
		return "ERROR"
	default:
		return "INFO"
	}
}

// relatedOf are the owner and the workload of what an event is about: of the object, or of the one that
// an Event of Kubernetes regards.
func (o *observer) relatedOf(e *eventv1.Event, uid string) []*eventv1.EntityRef {
	if e.Type != typeEvent {
		return o.ledger.get(uid).related()
	}
	if controller := o.owners.replicaSets[e.Entity.Uid]; controller != "" {
		// The quota of a Deployment shows in Events about its ReplicaSet.
		set := record{Name: e.Entity.Namespace + "/" + e.Entity.Name, Owner: controller, Workload: o.owners.workloadOf(controller)}
		return set.related()
	}
	return o.ledger.get(e.Entity.Uid).related()
}

// gone publishes that an object was deleted.
func (o *observer) gone(kind, uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(kind, uid)
}

func (o *observer) remove(kind, uid string) {
	delete(o.templates, uid)
	delete(o.starting, uid)
	delete(o.owners.jobs, uid)
	delete(o.deadlines, uid)
	if f, ok := deletion(kind, uid, o.ledger.get(uid)); ok {
		o.publish(kind, uid, []finding{f}, o.since)
	}
	o.ledger.gone(uid, o.now())
}

// deletion is that an object does not exist any more. What an earlier release saw has no name.
func deletion(kind, uid string, r *record) (finding, bool) {
	if r == nil || kind == kindEvent || r.Name == "" || r.Gone != 0 || r.value(whatDeleted) != "" {
		return finding{}, false
	}
	namespace, name := r.names()
	return finding{aspect: whatDeleted, value: "1", event: &eventv1.Event{
		Type: typeOf(kind, whatDeleted), Source: sourceOf(kind), SeverityNumber: severityInfo, Count: 1, Body: "deleted",
		Entity: &eventv1.EntityRef{Kind: kind, Namespace: namespace, Name: name, Uid: uid, ApiVersion: apiVersionOf(kind)},
	}}, true
}

// only publishes that of a kind no other objects exist, after a list.
func (o *observer) only(kind string, there map[string]struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, uid := range o.ledger.missing(kind, there) {
		o.remove(kind, uid)
	}
	delete(o.waiting, kind)
	delete(o.unlisted, kind)
}

// checkpoint hands over the changed parts of the ledger. Before every feed has listed there
// is none: a first start must not look like a restart until everything old is known. A kind
// that may not be listed is not waited for, but remembered: its history begins when it may.
func (o *observer) checkpoint() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.forget(o.now())
	for kind := range o.waiting {
		if !o.forbidden(kind) {
			return
		}
	}
	for kind := range o.unlisted {
		if _, ok := o.late[kind]; !ok {
			o.late[kind], o.changed = time.Time{}, true
		}
	}
	c := newCheckpoint(o.ledger, o.since, o.late)
	if len(c.Shards) > 0 || o.changed {
		o.changed = false
		o.hand(collect.Item{Checkpoint: c})
	}
}
