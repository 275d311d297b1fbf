package correlate

import (
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// observation is what is remembered of one notable event. It owns its memory.
type observation struct {
	id, source string
	kind       string // event type
	time       int64  // Unix nanoseconds
	seen       int64  // the stream time, Unix nanoseconds
	// onset is when what it is about began: of an Event that is told again and again the first time.
	onset    int64
	severity int32
	signal   signal
	// guessed says that the subject follows from nothing but the pod's name.
	guessed bool
	// located says that the event itself named its node.
	located bool
	// ended says that a recovery came, urgent that it needs not last to be worth telling.
	ended, urgent bool
	text          string
	entity        *eventv1.EntityRef
	// subject is the workload, or what else a person knows it by: an incident is about it.
	subject *eventv1.EntityRef
	// self is the key of what is ill: the pod, the workload object, the condition of the node. Empty = nothing that
	// could recover.
	self string
	// detail says more about it than its kind: what changed, which image. Empty = the text says all.
	detail string
	// keys are where it is remembered and looked for, by relation; empty = not known.
	keys [relations]string
	// services are the keys of further services that it is remembered under.
	services []string
	// home is where its incident is looked for: its workload, for a node event the node, for a
	// failed request the service. Unlike keys it holds what cluster that is of.
	home string
	// cluster and namespace are where it happened, for a failed request where the service is;
	// empty = not known.
	cluster, namespace string

	cause    *observation
	link     cause
	incident *incident
	// arrived is the event time that it lasts from, steady the time since when it was seen without a longer pause.
	arrived, steady int64
}

const maxText = 240

// observe copies what correlation needs out of a view.
func observe(e *event.Event, s signal, now time.Time) *observation {
	var own texts
	own.Grow(len(e.ID) + len(e.Source) + len(e.Type) + keysSize)
	o := &observation{
		id: own.keep(e.ID), source: own.keep(e.Source), kind: own.keep(e.Type), signal: s, time: eventTime(e), seen: now.UnixNano(), severity: e.Severity,
		text: shorten(e.Body), entity: cloneRef(e.Entity),
	}
	o.onset, o.steady = onsetOf(e, o.time), o.time
	var r references
	r.read(e, s)
	o.subject, o.guessed = r.subject(e, o.entity, o.source)
	o.cluster, o.namespace = o.entity.GetCluster(), o.entity.GetNamespace()
	if o.cluster == "" {
		name, _ := e.Resource("k8s.cluster.name")
		o.cluster = own.keep(name)
	}
	if o.subject.GetCluster() == "" {
		o.subject.Cluster = o.cluster
	}
	o.place(e, &own, r.node, r.services)
	o.placeSelf(&own)
	o.detail = detailOf(e, s)
	if address := dependencyOf(e, s); address != "" {
		o.keys[sameDependency] = own.keep("d/", address)
	}
	return o
}

// maxServices is how many services an observation is remembered under.
const maxServices = 8

// foreign says whether two observations are of different clusters or, where a service ties them, of
// different namespaces. Who does not tell may be of any.
func foreign(a, b *observation, over relation) bool {
	return differ(a.cluster, b.cluster) && over != sameTrace || over == sameService && differ(a.namespace, b.namespace)
}

func differ(a, b string) bool { return a != b && a != "" && b != "" }

// texts are strings in one piece of memory.
type texts struct{ strings.Builder }

// keysSize is room for the keys of most observations.
const keysSize = 192

// keep returns parts, joined, in the memory of t.
func (t *texts) keep(parts ...string) string {
	from := t.Len()
	for _, p := range parts {
		t.WriteString(p)
	}
	return t.String()[from:]
}

// place fills the keys. Names stand in separate spaces: p, w, n, s, t.
func (o *observation) place(e *event.Event, own *texts, node string, services []string) {
	ns := o.entity.GetNamespace()
	switch o.entity.GetKind() {
	case "Pod":
		o.keys[samePod] = own.keep("p/", ns, "/", o.entity.GetName())
	case "Node":
		node = o.entity.GetName()
	}
	if o.subject.GetKind() != "Node" && o.subject.GetName() != "" {
		// Without the kind: a name taken from a pod's does not tell its kind.
		o.keys[sameWorkload] = own.keep("w/", o.subject.GetNamespace(), "/", o.subject.GetName())
	}
	if node != "" {
		o.keys[sameNode], o.located = own.keep("n/", node), true
	}
	if byService[o.signal] {
		o.placeByService(e, own, services)
	}
	if len(e.TraceID) == 16 {
		var trace [32]byte
		hex.Encode(trace[:], e.TraceID)
		o.keys[sameTrace] = own.keep("t/", string(trace[:]))
	}
	o.home = o.homeOf(own)
}

// placeByService fills the keys of the services that o is of, or was a call to.
func (o *observation) placeByService(e *event.Event, own *texts, services []string) {
	first := o.subject.GetName()
	switch span, _ := e.Span(); {
	case span.PeerService != "": // a failed call is a symptom of whom it called
		first, services = span.PeerService, nil
		o.namespace = own.keep(calledIn(e, first, o.namespace))
	case o.entity.GetKind() == "Service":
		first, services = o.entity.GetName(), nil
	case len(services) > 0:
		first, services = services[0], services[1:]
	case o.subject.GetKind() == "Node":
		return
	}
	if first != "" {
		o.keys[sameService] = own.keep("s/", first)
	}
	for _, service := range services {
		o.services = append(o.services, own.keep("s/", service))
	}
}

// under yields the keys that o is remembered under for what it may have caused over a relation.
func (o *observation) under(over relation) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if o.keys[over] == "" || !yield(o.keys[over]) || over != sameService {
			return
		}
		for _, key := range o.services {
			if !yield(key) {
				return
			}
		}
	}
}

// placeSelf fills the keys of what is ill, or well again.
func (o *observation) placeSelf(own *texts) {
	switch kind := o.entity.GetKind(); {
	case rules[o.signal].class == change:
		return
	case kind == "Pod":
		o.self = o.keys[samePod]
	case kind == "Node":
		o.self = nodeSelf(o.keys[sameNode], o.signal)
	case workloadKinds[kind]:
		o.self = own.keep("w/", o.entity.GetNamespace(), "/", o.entity.GetName())
	}
}

// nodeSelf keeps the conditions of a node apart.
func nodeSelf(key string, s signal) string { return key + "\x00" + s.String() }

// homeOf is the home of o. A caller that sees errors is at home with whom it called.
func (o *observation) homeOf(own *texts) string {
	switch {
	case o.signal == signalErrorSpan && o.keys[sameService] != "":
		return own.keep(o.keys[sameService], "\x00", o.namespace, "\x00", o.cluster)
	case o.signal == signalErrorSpan:
		return ""
	}
	key := o.keys[sameWorkload]
	if o.entity.GetKind() == "Node" {
		key = o.keys[sameNode]
	}
	if o.cluster == "" || key == "" {
		return key
	}
	return own.keep(key, "\x00", o.cluster)
}

// calledIn is the namespace of a service that was called from the namespace own, as far as the address says it in
// the way of the DNS of a cluster: a name alone is of the caller's. Empty = not known.
func calledIn(e *event.Event, service, own string) string {
	address, _ := e.Attribute("server.address")
	name, rest, dotted := strings.Cut(address.Text(), ".")
	if !dotted {
		if name == "" || strings.Contains(name, ":") { // an IPv6 address
			return ""
		}
		return own
	}
	namespace, domain, _ := strings.Cut(rest, ".")
	if domain == "svc" || strings.HasPrefix(domain, "svc.") || domain == "" && name == service {
		return namespace
	}
	return ""
}

// onsetOf is when a series of Kubernetes Events began, else at.
func onsetOf(e *event.Event, at int64) int64 {
	if e.Type != "k8s.event" {
		return at
	}
	for _, key := range [...]string{"k8s.event.first_time", "k8s.event.start_time"} {
		v, ok := e.Attribute(key)
		if !ok {
			continue
		}
		if first, err := time.Parse(time.RFC3339Nano, v.Text()); err == nil && first.Unix() > 0 {
			return min(at, first.UnixNano())
		}
	}
	return at
}

// eventTime is when it happened, else when it was seen first.
func eventTime(e *event.Event) int64 {
	switch {
	case e.Time > 0:
		return e.Time
	case e.ObservedTime > 0:
		return e.ObservedTime
	default:
		return max(0, e.IngestTime)
	}
}

func cloneRef(r event.EntityRef) *eventv1.EntityRef {
	var own texts
	own.Grow(len(r.Kind) + len(r.Namespace) + len(r.Name) + len(r.UID) + len(r.APIVersion) + len(r.Cluster))
	return &eventv1.EntityRef{
		Kind: own.keep(r.Kind), Namespace: own.keep(r.Namespace), Name: own.keep(r.Name),
		Uid: own.keep(r.UID), ApiVersion: own.keep(r.APIVersion), Cluster: own.keep(r.Cluster),
	}
}

func shorten(s string) string { return shortenTo(s, maxText) }

func shortenTo(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		return s + "..."
	}
	return strings.Clone(s)
}
