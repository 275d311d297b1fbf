package enrich

import (
	"strings"

	"millrace.dev/millrace/workers/event"
)

func (k key) clone() key {
	return key{strings.Clone(k.kind), strings.Clone(k.a), strings.Clone(k.b)}
}

// association finds out which Kubernetes object an event is about. The first that says
// something decides, also when nothing is then found under it:
//
//  1. the event's entity, by uid, else by API group, kind, namespace and name;
//  2. resource k8s.pod.uid;
//  3. resource k8s.pod.name with k8s.namespace.name;
//  4. resource k8s.pod.ip;
//  5. the source IP of a network event;
//  6. resource k8s.node.name.
//
// ok is false when the event says nothing.
func association(e *event.Event) (q Query, ok bool) {
	q.At = e.Time
	if r := &e.Entity; names(r) {
		q.Kind, q.Namespace, q.Name, q.UID, q.APIVersion = r.Kind, r.Namespace, r.Name, r.UID, r.APIVersion
		return q, true
	}
	if fromResource(e, &q) {
		return q, true
	}
	if n, ok := e.Network(); ok && n.SourceIP != "" {
		q.IP = n.SourceIP
		return q, true
	}
	if name, ok := e.Resource("k8s.node.name"); ok {
		q.Kind, q.Name = "Node", name
		return q, true
	}
	return q, false
}

// names tells whether a reference names an object.
func names(r *event.EntityRef) bool { return r.UID != "" || r.Name != "" && r.Kind != "" }

// The longest that Kubernetes lets names be. The uid of a node in the kubelet's events is its name.
const (
	maxKind, maxNamespace = 63, 63
	maxName, maxUID       = 253, 253
	maxAPIVersion         = maxName + 1 + maxKind
)

// possible tells whether an object can be called so.
func (q *Query) possible() bool {
	return len(q.Kind) <= maxKind && len(q.Namespace) <= maxNamespace && len(q.Name) <= maxName && len(q.UID) <= maxUID && len(q.APIVersion) <= maxAPIVersion
}

func fromResource(e *event.Event, q *Query) bool {
	if uid, ok := e.Resource("k8s.pod.uid"); ok {
		q.Kind, q.UID = "Pod", uid
		return true
	}
	if name, ok := e.Resource("k8s.pod.name"); ok {
		if namespace, ok := e.Resource("k8s.namespace.name"); ok {
			q.Kind, q.Namespace, q.Name = "Pod", namespace, name
			return true
		}
	}
	if ip, ok := e.Resource("k8s.pod.ip"); ok {
		q.IP = ip
		return true
	}
	return false
}
