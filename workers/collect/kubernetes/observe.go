package kubernetes

import (
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// observer turns what the watches deliver into events, and hands them on in order.
type observer struct {
	cluster string
	now     func() time.Time
	// since is the first start of the collector less its history: what happened before it
	// is taken as known.
	since time.Time
	out   chan<- item
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

// item is what the observer hands to the publisher.
type item struct {
	// events belong together: they are published in one frame.
	events []*eventv1.Event
	// checkpoint is the state after everything that was handed over before.
	checkpoint *checkpoint
}

// observe publishes what is new about one object. It blocks while the publisher is busy,
// which holds up the watches.
func (o *observer) observe(kind string, meta *metav1.ObjectMeta, find func(past) []finding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	uid, since := string(meta.UID), o.sinceOf(kind)
	p := past{record: o.ledger.get(uid), old: meta.CreationTimestamp.Time.Before(since)}
	findings := find(p)
	o.ledger.see(uid, kind)
	now := o.now()
	var events []*eventv1.Event
	size := 0
	for _, f := range findings {
		o.ledger.set(uid, kind, storedAspect(kind, f.aspect), f.value)
		if f.event == nil || !f.at.IsZero() && f.at.Before(since) {
			continue
		}
		e := o.complete(f, uid, now)
		n := proto.Size(e)
		// The findings of a Deployment carry one value: a crash between two frames would lose some.
		if kind != kindDeployment && size+n > maxFrameBytes && len(events) > 0 {
			o.hand(item{events: events})
			events, size = nil, 0
		}
		events = append(events, e)
		size += n
	}
	if len(events) > 0 {
		o.hand(item{events: events})
	}
}

// hand gives an item to the publisher, unless the collector ends.
func (o *observer) hand(i item) {
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

// storedAspect is the aspect under which the ledger keeps a value: all changes of a
// Deployment tell its whole state.
func storedAspect(kind, aspect string) string {
	if kind == kindDeployment {
		return aspectSpec
	}
	return aspect
}

// gone records that an object was deleted.
func (o *observer) gone(uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.gone(uid, o.now())
}

// only records that of a kind no other objects exist, after a list.
func (o *observer) only(kind string, there map[string]struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.only(kind, there, o.now())
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
	c := newCheckpoint(o.ledger, o.since)
	if c == nil && o.changed {
		c = &checkpoint{since: o.since}
	}
	if c != nil {
		c.late, o.changed = maps.Clone(o.late), false
		o.hand(item{checkpoint: c})
	}
}

// feedStore delivers one resource to the observer.
type feedStore[T metav1.Object] struct {
	*observer
	kind string
	// at orders the objects of a list, the older first.
	at   func(T) time.Time
	find func(T, past) []finding
}

// Set observes an object.
func (s feedStore[T]) Set(o any) {
	object := o.(T)
	s.observe(s.kind, metaOf(object), func(p past) []finding { return s.find(object, p) })
}

// Remove records that an object is gone. Its last state may hold news.
func (s feedStore[T]) Remove(o any) {
	s.Set(o)
	s.gone(string(o.(T).GetUID()))
}

// Replace observes a list.
func (s feedStore[T]) Replace(all []any) {
	s.begin(s.kind)
	slices.SortStableFunc(all, func(a, b any) int { return s.at(a.(T)).Compare(s.at(b.(T))) })
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.(T).GetUID())] = struct{}{}
		s.Set(o)
	}
	s.only(s.kind, there)
}

// metaOf is the metadata that observe reads.
func metaOf(o metav1.Object) *metav1.ObjectMeta {
	return &metav1.ObjectMeta{UID: o.GetUID(), CreationTimestamp: o.GetCreationTimestamp()}
}

func created[T metav1.Object](o T) time.Time { return o.GetCreationTimestamp().Time }

func stripPod(o any) {
	if pod, ok := o.(*corev1.Pod); ok {
		pod.ManagedFields, pod.Annotations, pod.Labels = nil, nil, nil
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
		for _, c := range containerStatuses(pod) {
			c.Name = text(c.Name, maxName) // it is in ids, which are read back
		}
	}
}

func stripNode(o any) {
	if node, ok := o.(*corev1.Node); ok {
		node.ManagedFields, node.Annotations, node.Labels = nil, nil, nil
		node.Spec = corev1.NodeSpec{}
		node.Status = corev1.NodeStatus{Conditions: node.Status.Conditions}
	}
}

func stripDeployment(o any) {
	if d, ok := o.(*appsv1.Deployment); ok {
		d.ManagedFields, d.Annotations, d.Labels = nil, nil, nil
		d.Status = appsv1.DeploymentStatus{}
	}
}

func stripEvent(o any) {
	if e, ok := o.(*eventsv1.Event); ok {
		e.ManagedFields, e.Annotations, e.Labels = nil, nil, nil
	}
}
