package correlate

import (
	"cmp"
	"slices"
	"strings"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// workloadKinds are the kinds of objects that run pods.
var workloadKinds = map[string]bool{
	"Deployment": true, "ReplicaSet": true, "StatefulSet": true, "DaemonSet": true, "Job": true, "CronJob": true, "Rollout": true,
	"ReplicationController": true,
}

// references are the related objects of an event, as far as correlation needs them.
type references struct {
	workload, owner *eventv1.EntityRef
	node            string
	services        []string
}

func (r *references) read(e *event.Event, s signal) {
	e.RelatedRefs(func(ref event.EntityRef) bool {
		switch ref.Role {
		case "workload":
			r.workload = cloneRef(ref)
		case "owner":
			if r.owner == nil {
				r.owner = cloneRef(ref)
			}
		case "node":
			r.node = ref.Name
		case "service":
			if byService[s] {
				r.service(ref.Name)
			}
		}
		return true
	})
	if r.node == "" {
		r.node, _ = e.Resource("k8s.node.name")
	}
	if byService[s] {
		name, _ := e.Resource("service.name")
		r.service(name)
	}
}

func (r *references) service(name string) {
	if name != "" && len(r.services) < maxServices && !slices.Contains(r.services, name) {
		r.services = append(r.services, name)
	}
}

// subject is what a person knows the entity by: its workload, else what its owner belongs to. A pod
// without either stands for itself when somebody looked, and a static pod always: its owner is its node.
// The name of a pod is the last resort; guessed says so.
func (r *references) subject(e *event.Event, entity *eventv1.EntityRef, source string) (ref *eventv1.EntityRef, guessed bool) {
	switch {
	case r.workload.GetName() != "" && r.workload.GetKind() != "Node":
		return r.workload, false
	case r.owner.GetKind() == "Node" || r.workload.GetKind() == "Node":
		return entity, false
	case r.owner.GetKind() == "ReplicaSet":
		owner := r.owner
		owner.Namespace = cmp.Or(owner.GetNamespace(), entity.GetNamespace())
		return ofReplicaSet(owner)
	case r.owner.GetName() != "":
		r.owner.Namespace = cmp.Or(r.owner.GetNamespace(), entity.GetNamespace())
		return r.owner, false
	case entity.GetKind() == "":
		return &eventv1.EntityRef{Kind: "Source", Name: source}, false
	case entity.GetKind() != "Pod" && entity.GetKind() != "ReplicaSet", strings.HasPrefix(e.Type, "k8s.replicaset."), lookedUp(e):
		return entity, false
	case entity.GetKind() == "Pod":
		return ofPodName(entity)
	}
	return ofReplicaSet(entity)
}

// lookedUp says whether the Kubernetes enricher knew the entity.
func lookedUp(e *event.Event) (ok bool) {
	e.Enrichments(func(n event.Enrichment) bool {
		ok = ok || n.By == "kubernetes" && n.Status == "ok"
		return !ok
	})
	return ok
}

// ofReplicaSet is the Deployment that a ReplicaSet's name says it is of, else the ReplicaSet.
func ofReplicaSet(r *eventv1.EntityRef) (ref *eventv1.EntityRef, guessed bool) {
	if name, hash := cutLast(r.GetName()); generated(hash, 8, 10) && !digits(hash) {
		return &eventv1.EntityRef{Kind: "Deployment", Namespace: r.GetNamespace(), Name: name, ApiVersion: "apps/v1"}, true
	}
	return r, false
}

// ofPodName is the workload that a pod's name says it is of: the name without the suffixes that the
// controllers of Deployments, ReplicaSets and CronJobs give it, else the pod.
func ofPodName(r *eventv1.EntityRef) (ref *eventv1.EntityRef, guessed bool) {
	set, suffix := cutLast(r.GetName())
	if !generated(suffix, 5, 5) {
		return r, false
	}
	name, hash := cutLast(set)
	switch {
	case !generated(hash, 8, 10) && !(digits(hash) && len(hash) == 8):
		return r, false
	case digits(hash): // the minute for which a CronJob made it
		return &eventv1.EntityRef{Kind: "Job", Namespace: r.GetNamespace(), Name: set, ApiVersion: "batch/v1"}, true
	}
	return &eventv1.EntityRef{Kind: "Deployment", Namespace: r.GetNamespace(), Name: name, ApiVersion: "apps/v1"}, true
}

// cutLast cuts a name at its last dash; suffix is empty when there is none.
func cutLast(name string) (rest, suffix string) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// generated tells whether s consists of the letters and digits that Kubernetes makes names
// of: no vowels, no 0, 1 and 3 (k8s.io/apimachinery/pkg/util/rand).
func generated(s string, shortest, longest int) bool {
	if len(s) < shortest || len(s) > longest {
		return false
	}
	return strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == ""
}
