package enrich

import (
	"strings"
	"time"

	"millrace.dev/millrace/workers/event"
)

// attribute is one resource attribute of an entry.
type attribute struct {
	key string
	end uint32 // of its bytes in the entry's
}

// reference is one related reference of an entry.
type reference struct {
	kind, namespace, name, uid string
	end                        uint32
	role                       role
}

// role is what a reference is to the entity, in a byte: an entry of the cache has many.
type role byte

const (
	roleOther role = iota // one that enrich does not add
	roleOwner
	roleWorkload
	roleNode
	roleService
)

func roleOf(name string) role {
	switch name {
	case "owner":
		return roleOwner
	case "workload":
		return roleWorkload
	case "node":
		return roleNode
	case "service":
		return roleService
	}
	return roleOther
}

// is tells whether r names the same object as an event's own reference, whatever the role; one of
// them may not know the uid.
func (r *reference) is(own *event.EntityRef) bool {
	return r.name == own.Name && r.kind == own.Kind && r.namespace == own.Namespace &&
		(r.uid == own.UID || r.uid == "" || own.UID == "")
}

// workloadKey is the prefix of the attributes of a kind that the conventions name.
func workloadKey(kind string) (prefix string, ok bool) {
	switch kind {
	case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob":
		return "k8s." + strings.ToLower(kind), true
	}
	return "", false
}

// eachAttribute calls add with the resource attributes of f by the semantic conventions 1.44.
// Values may be empty.
func eachAttribute(f *Facts, labels labelChoice, add func(key, value string)) {
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
	if f.WorkloadGuessed {
		add("millrace.workload.by", "name")
	}
	add("k8s.node.name", f.Node.Name)
	add("k8s.node.uid", f.Node.UID)
	add("service.name", serviceName(f))
	add("service.criticality", f.Criticality)
}

// chain is the entity, when it is a workload itself, and its owners.
func chain(f *Facts) []event.EntityRef {
	if _, ok := workloadKey(f.Entity.Kind); !ok {
		return f.Owners
	}
	return append([]event.EntityRef{f.Entity}, f.Owners...)
}

// serviceName follows the order of the semantic conventions: what the pod says, then the
// workload (deployment, replicaset, statefulset, daemonset, cronjob, job), then the pod. A Rollout
// stands for a Deployment.
func serviceName(f *Facts) string {
	if f.ServiceName != "" {
		return f.ServiceName
	}
	owners := chain(f)
	for _, kind := range []string{"Deployment", "Rollout", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "Job"} {
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

// eachReference calls add with what f names beside the entity, each in its role.
func eachReference(f *Facts, add func(event.EntityRef)) {
	in := func(role string, ref event.EntityRef) {
		if ref.Name != "" {
			ref.Role = role
			add(ref)
		}
	}
	for _, owner := range f.Owners {
		if owner == f.Workload {
			in("workload", owner)
		} else {
			in("owner", owner)
		}
	}
	if f.Entity.Kind != "Node" {
		in("node", f.Node)
	}
	if f.Entity.Kind != "Service" {
		for _, service := range f.Services {
			in("service", service)
		}
	}
}
