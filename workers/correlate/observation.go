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
	signal     signal
	time       int64 // Unix nanoseconds
	seen       int64 // the stream time, Unix nanoseconds
	severity   int32
	text       string
	entity     *eventv1.EntityRef
	// subject is the workload, or what else a person knows it by: an incident is about it.
	subject *eventv1.EntityRef
	// keys are where it is remembered and looked for, by relation; empty = not known.
	keys [relations]string
	// located says that the event itself named its node.
	located bool

	cause    *observation
	link     cause
	incident *incident
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
	var node, service string
	e.RelatedRefs(func(r event.EntityRef) bool {
		switch r.Role {
		case "workload":
			o.subject = cloneRef(r)
		case "node":
			node = r.Name
		case "service":
			if service == "" {
				service = r.Name
			}
		}
		return true
	})
	if node == "" {
		node, _ = e.Resource("k8s.node.name")
	}
	if service == "" {
		service, _ = e.Resource("service.name")
	}
	if o.subject == nil {
		o.subject = subjectOf(o.entity, o.source)
	}
	o.place(e, &own, node, service)
	return o
}

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
func (o *observation) place(e *event.Event, own *texts, node, service string) {
	ns := o.entity.GetNamespace()
	switch o.entity.GetKind() {
	case "Pod":
		o.keys[samePod] = own.keep("p/", ns, "/", o.entity.GetName())
	case "Node":
		node = o.entity.GetName()
	case "Service":
		service = o.entity.GetName()
	}
	if o.subject.GetKind() != "Node" && o.subject.GetName() != "" {
		// Without the kind: a name taken from a pod's does not tell its kind.
		o.keys[sameWorkload] = own.keep("w/", o.subject.GetNamespace(), "/", o.subject.GetName())
	}
	if node != "" {
		o.keys[sameNode], o.located = own.keep("n/", node), true
	}
	if span, ok := e.Span(); ok && span.PeerService != "" {
		service = span.PeerService // a failed call is a symptom of whom it called
	}
	if service == "" && o.subject.GetKind() != "Node" {
		service = o.subject.GetName()
	}
	if service != "" {
		o.keys[sameService] = own.keep("s/", service)
	}
	if len(e.TraceID) == 16 {
		var trace [32]byte
		hex.Encode(trace[:], e.TraceID)
		o.keys[sameTrace] = own.keep("t/", string(trace[:]))
	}
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

// subjectOf is the workload of an entity without enrichment: for a pod, its name without
// the suffixes that ReplicaSet and Deployment controllers give it.
func subjectOf(r *eventv1.EntityRef, source string) *eventv1.EntityRef {
	switch r.GetKind() {
	case "":
		return &eventv1.EntityRef{Kind: "Source", Name: source}
	case "Pod":
		name := r.GetName()
		if i := strings.LastIndexByte(name, '-'); i > 0 && generated(name[i+1:], 5, 5) {
			name = name[:i]
			if j := strings.LastIndexByte(name, '-'); j > 0 && generated(name[j+1:], 8, 10) {
				return &eventv1.EntityRef{Kind: "Deployment", Namespace: r.GetNamespace(), Name: name[:j], ApiVersion: "apps/v1"}
			}
		}
		return r
	case "ReplicaSet":
		name := r.GetName()
		if i := strings.LastIndexByte(name, '-'); i > 0 && generated(name[i+1:], 8, 10) {
			return &eventv1.EntityRef{Kind: "Deployment", Namespace: r.GetNamespace(), Name: name[:i], ApiVersion: "apps/v1"}
		}
	}
	return r
}

// generated tells whether s consists of the letters and digits that Kubernetes makes names
// of: no vowels, no 0, 1 and 3 (k8s.io/apimachinery/pkg/util/rand).
func generated(s string, shortest, longest int) bool {
	if len(s) < shortest || len(s) > longest {
		return false
	}
	return strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == ""
}

func shorten(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		return s + "..."
	}
	return strings.Clone(s)
}
