package kubernetes

import (
	"slices"
	"strings"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// ref names an object: <api version>|<kind>|<name>|<uid>. Its namespace is that of the object that
// refers to it.
type ref string

const (
	roleOwner    = "owner"
	roleWorkload = "workload"
	roleNode     = "node"
)

// sameAsOwner is the workload of an object whose controller is its workload.
const sameAsOwner ref = "="

func newRef(apiVersion, kind, name, uid string) ref {
	text := strings.Join([]string{apiVersion, kind, name, uid}, "|")
	return ref(unique.Make(text).Value()) // many pods have one controller
}

// controllerOf is the controller of an object; empty = it has none.
func controllerOf(o metav1.Object) ref {
	c := metav1.GetControllerOfNoCopy(o)
	if c == nil {
		return ""
	}
	return newRef(c.APIVersion, c.Kind, c.Name, string(c.UID))
}

func (r ref) parts() (apiVersion, kind, name, uid string) {
	parts := strings.SplitN(string(r), "|", 4)
	if len(parts) != 4 {
		return "", "", "", ""
	}
	return parts[0], parts[1], parts[2], parts[3]
}

// entity is what a ref names, as an event has it; nil = nothing.
func (r ref) entity(namespace, role string) *eventv1.EntityRef {
	apiVersion, kind, name, uid := r.parts()
	if kind == "" {
		return nil
	}
	if apiVersion == "v1" && clusterScoped(kind) {
		namespace = ""
	}
	return &eventv1.EntityRef{Kind: kind, Namespace: namespace, Name: name, Uid: uid, ApiVersion: apiVersion, Role: role}
}

// clusterScoped tells whether a core kind has no namespace. The controller of a static pod is its node.
func clusterScoped(kind string) bool {
	return slices.Contains([]string{kindNode, "Namespace", "PersistentVolume"}, kind)
}

// owners are the controllers of what stands between a pod and its workload, by uid; empty = it has none.
type owners struct{ replicaSets, jobs map[string]ref }

// above is the controller of a ReplicaSet or Job.
func (o owners) above(kind, uid string) (controller ref, known bool) {
	if kind == kindJob {
		controller, known = o.jobs[uid]
	} else {
		controller, known = o.replicaSets[uid]
	}
	return controller, known
}

// workloadOf is the workload of an object with a controller; empty = it has none, or nobody knows it. The
// controller of a static pod is a node, which is no workload. A ReplicaSet or Job that nobody
// controls, and any other controller, is a workload itself.
func (o owners) workloadOf(controller ref) ref {
	apiVersion, kind, _, uid := controller.parts()
	group, _, _ := strings.Cut(apiVersion, "/")
	switch {
	case kind == "" || apiVersion == "v1" && clusterScoped(kind):
		return ""
	case kind == kindReplicaSet && group == "apps", kind == kindJob && group == "batch":
		above, known := o.above(kind, uid)
		if !known {
			return ""
		}
		if above != "" {
			return above
		}
	}
	return sameAsOwner
}

// related are the owner and the workload of an object as events have them.
func (r *record) related() []*eventv1.EntityRef {
	if r == nil {
		return nil
	}
	namespace, _ := r.names()
	var all []*eventv1.EntityRef
	if owner := r.Owner.entity(namespace, roleOwner); owner != nil {
		all = append(all, owner)
	}
	workload := r.Workload
	if workload == sameAsOwner {
		workload = r.Owner
	}
	if w := workload.entity(namespace, roleWorkload); w != nil {
		all = append(all, w)
	}
	return all
}

// names are the namespace and the name of the object.
func (r *record) names() (namespace, name string) {
	namespace, name, ok := strings.Cut(r.Name, "/")
	if !ok {
		return "", r.Name
	}
	return namespace, name
}
