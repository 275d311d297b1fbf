package enrich

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// attribute is one resource attribute, encoded so that it can be appended to an event.
type attribute struct {
	key     string
	encoded []byte
	patch   event.Prepared
}

// encode returns the fields of m as bytes that extend an encoded event. Everything that enrich
// encodes is made of plain strings and numbers, which cannot fail.
func encode(m *eventv1.Event) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("enrich: encode patch: " + err.Error()) // only invalid UTF-8, which valid removes
	}
	return b
}

// prepare makes encoded fields ready to be appended to many events.
func prepare(encoded []byte) event.Prepared {
	p, err := event.Prepare(encoded)
	if err != nil {
		panic("enrich: " + err.Error()) // encode made the bytes
	}
	return p
}

func encodeEnrichment(by string, status Status, at int64) []byte {
	return encode(&eventv1.Event{Enrichment: []*eventv1.Enrichment{{By: by, Status: string(status), AtUnixNano: uint64(at)}}})
}

func encodeAttribute(key, value string) attribute {
	m := &eventv1.Event{Resource: []*eventv1.KeyValue{{
		Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: valid(value)},
	}}}
	encoded := encode(m)
	return attribute{key, encoded, prepare(encoded)}
}

// reference is one related reference, encoded so that it can be appended to an event.
type reference struct {
	ref     event.EntityRef
	encoded []byte
	patch   event.Prepared
}

func encodeReference(r event.EntityRef) reference {
	m := &eventv1.Event{Related: []*eventv1.EntityRef{{
		Kind: valid(r.Kind), Namespace: valid(r.Namespace), Name: valid(r.Name), Uid: valid(r.UID),
		ApiVersion: valid(r.APIVersion), Cluster: valid(r.Cluster), Role: valid(r.Role),
	}}}
	encoded := encode(m)
	return reference{r, encoded, prepare(encoded)}
}

// same tells whether two references name one thing; one of them may not know its uid.
func same(a, b event.EntityRef) bool {
	return a.Name == b.Name && a.Kind == b.Kind && a.Namespace == b.Namespace &&
		(a.UID == b.UID || a.UID == "" || b.UID == "")
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// workloadKeys are the attribute prefixes of the kinds that the conventions name.
func workloadKey(kind string) (prefix string, ok bool) {
	switch kind {
	case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob":
		return "k8s." + strings.ToLower(kind), true
	}
	return "", false
}

// attributes are the resource attributes of f by the semantic conventions 1.44.
func attributes(f *Facts, labels labelChoice) []attribute {
	var all []attribute
	add := func(key, value string) {
		if value != "" {
			all = append(all, encodeAttribute(key, value))
		}
	}
	add("k8s.cluster.uid", f.ClusterUID)
	add("k8s.namespace.name", f.Entity.Namespace)
	if p := f.Pod; p != nil {
		add("k8s.pod.name", f.Entity.Name)
		add("k8s.pod.uid", f.Entity.UID)
		add("k8s.pod.ip", p.IP)
		if p.Start != 0 {
			add("k8s.pod.start_time", time.Unix(0, p.Start).UTC().Format(time.RFC3339))
		}
		for _, l := range p.Labels {
			if labels.takes(l.Key) {
				add("k8s.pod.label."+l.Key, l.Value)
			}
		}
	}
	for _, ref := range chain(f) {
		if prefix, ok := workloadKey(ref.Kind); ok {
			add(prefix+".name", ref.Name)
			add(prefix+".uid", ref.UID)
		}
	}
	add("k8s.node.name", f.Node.Name)
	add("k8s.node.uid", f.Node.UID)
	add("service.name", serviceName(f))
	add("service.criticality", f.Criticality)
	return all
}

// chain is the entity, when it is a workload itself, and its owners.
func chain(f *Facts) []event.EntityRef {
	if _, ok := workloadKey(f.Entity.Kind); !ok {
		return f.Owners
	}
	return append([]event.EntityRef{f.Entity}, f.Owners...)
}

// serviceName follows the order of the semantic conventions: what the pod says, then the
// workload (deployment, replicaset, statefulset, daemonset, cronjob, job), then the pod.
func serviceName(f *Facts) string {
	if f.ServiceName != "" {
		return f.ServiceName
	}
	owners := chain(f)
	for _, kind := range []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "Job"} {
		for _, owner := range owners {
			if owner.Kind == kind {
				return owner.Name
			}
		}
	}
	if f.Pod != nil {
		return f.Entity.Name
	}
	return ""
}

// references are what f names beside the entity, each in its role.
func references(f *Facts) []reference {
	var refs []reference
	add := func(ref event.EntityRef, role string) {
		if ref.Name != "" {
			ref.Role = role
			refs = append(refs, encodeReference(ref))
		}
	}
	for _, owner := range f.Owners {
		role := "owner"
		if owner == f.Workload {
			role = "workload"
		}
		add(owner, role)
	}
	if f.Entity.Kind != "Node" {
		add(f.Node, "node")
	}
	for _, service := range f.Services {
		if f.Entity.Kind != "Service" {
			add(service, "service")
		}
	}
	return refs
}
