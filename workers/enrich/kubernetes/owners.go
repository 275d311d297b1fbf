package kubernetes

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/workers/event"
)

// Kinds whose pods belong to what is above them.
const (
	kindReplicaSet = "ReplicaSet"
	kindJob        = "Job"
)

// podTemplateHash is the label that the Deployment controller gives to the pods of each of its
// ReplicaSets, and rolloutHash the one of Argo Rollouts; the ReplicaSet's name ends with the value.
const (
	podTemplateHash = "pod-template-hash"
	rolloutHash     = "rollouts-pod-template-hash"
)

// own finds the controller and the workload of p. The controller of a static pod is its node, which
// is no workload: the pod stands for itself.
func (s *Store) own(p *pod, o *corev1.Pod) {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || isNode(ref) {
		p.controllerUID = ""
		s.belongs(p, nil, nil)
		return
	}
	if p.controllerUID == string(ref.UID) && p.controller != nil {
		return
	}
	p.controllerUID = intern(string(ref.UID)).Value()
	c := s.workload(p.namespace.text, ref.APIVersion, ref.Kind, intern(ref.Name).Value())
	if !c.known {
		if p.created >= c.namedBy { // the youngest pod tells of one that was made again
			s.setWorkloadID(c, p.controllerUID)
			c.namedBy = p.created
		}
		if c.parent == nil {
			c.parent = templateOwner(c, o.Labels)
		}
	}
	s.belongs(p, c, s.counted(c))
}

func isNode(ref *metav1.OwnerReference) bool {
	return ref.Kind == "Node" && group(ref.APIVersion) == ""
}

// templateOwner is the owner of a ReplicaSet as the labels of one of its pods tell it; nil when they
// tell nothing. A name alone tells nothing: ReplicaSet menu-v2 may be nobody's.
func templateOwner(w *workload, labels map[string]string) *ownerName {
	if w.kind.Value() != kindReplicaSet {
		return nil
	}
	for _, by := range []struct{ label, apiVersion, kind string }{
		{podTemplateHash, "apps/v1", "Deployment"},
		{rolloutHash, "argoproj.io/v1alpha1", "Rollout"},
	} {
		hash := labels[by.label]
		if name, ok := strings.CutSuffix(w.name, "-"+hash); ok && hash != "" && name != "" {
			return &ownerName{kind: by.kind, name: intern(name).Value(), apiVersion: by.apiVersion}
		}
	}
	return nil
}

// names tells whether two owners are the same object by name.
func (o *ownerName) names(other *ownerName) bool {
	if o == nil || other == nil {
		return o == other
	}
	return o.kind == other.kind && o.name == other.name && sameGroup(o.apiVersion, other.apiVersion)
}

// counted is the workload that the pods of a controller count for.
func (s *Store) counted(c *workload) *workload {
	if c.kind.Value() != kindReplicaSet || c.parent == nil {
		return c
	}
	return s.workload(c.namespace, c.parent.apiVersion, c.parent.kind, c.parent.name)
}

// belongs gives p another controller and workload, and drops those that nothing names any more.
func (s *Store) belongs(p *pod, controller, workload *workload) {
	beforeController, beforeWorkload := p.controller, p.workload
	p.controller, p.workload = controller, workload
	if controller != nil {
		controller.references++
		workload.references++
	}
	s.unreference(beforeController)
	s.unreference(beforeWorkload)
}

// regroup counts the pods of a ReplicaSet anew, whose owner is not the one that was assumed.
func (s *Store) regroup(w *workload) {
	if w.references == 0 {
		return
	}
	for p := range s.namespaces[w.namespace.Value()].pods {
		if p.controller == w {
			p.workload.pods--
			s.belongs(p, w, s.counted(w))
			p.workload.pods++
		}
	}
}

// owners are the controllers of p, nearest first, and the topmost of them. guessed is true when the
// last one follows from a name alone.
func (s *Store) owners(p *pod) (owners []event.EntityRef, top event.EntityRef, guessed bool) {
	if p.controller == nil {
		return nil, event.EntityRef{}, false
	}
	first := p.controller.ref()
	first.UID = cmp.Or(p.controllerUID, first.UID)
	owners, guessed = s.ancestors(p.controller, []event.EntityRef{first})
	return owners, owners[len(owners)-1], guessed
}

// maxOwners bounds a chain of owners: names that point at each other end it.
const maxOwners = 4

// ancestors appends the controllers above w.
func (s *Store) ancestors(w *workload, owners []event.EntityRef) (all []event.EntityRef, guessed bool) {
	for range maxOwners {
		up, ref, byName := s.parent(w)
		if ref.Name == "" {
			break
		}
		owners, guessed = append(owners, ref), guessed || byName
		if w = up; w == nil {
			break
		}
	}
	return owners, guessed
}

// parent is the controller of a workload, with its record if there is one; no reference without.
func (s *Store) parent(w *workload) (up *workload, ref event.EntityRef, guessed bool) {
	ns := w.namespace.Value()
	if o := w.parent; o != nil {
		if up = s.workloadNamed(ns, o.apiVersion, o.kind, o.name); up != nil {
			ref = up.ref()
			ref.UID = cmp.Or(ref.UID, o.uid)
			return up, ref, false
		}
		if w.kind.Value() == kindReplicaSet || w.kind.Value() == kindJob && o.kind == "CronJob" {
			ref = event.EntityRef{Kind: o.kind, Namespace: ns, Name: o.name, UID: o.uid, APIVersion: o.apiVersion}
		}
		return nil, ref, false
	}
	if w.known {
		return nil, event.EntityRef{}, false // the object itself names no controller
	}
	if up = s.cronJobNamed(ns, w.apiVersion.Value(), w.kind.Value(), w.name); up == nil {
		return nil, event.EntityRef{}, false
	}
	ref = up.ref()
	return up, ref, true
}

// cronJobNamed finds the CronJob of a Job that nobody has seen, by the name that the CronJob
// controller gives: the CronJob's, and minutes since 1970. It is the last resort; nil without.
func (s *Store) cronJobNamed(namespace, apiVersion, kind, name string) *workload {
	cut := strings.LastIndexByte(name, '-')
	if kind != kindJob || !sameGroup(apiVersion, "batch/v1") || cut < 1 || !jobSuffix.MatchString(name[cut+1:]) {
		return nil
	}
	return s.workloadNamed(namespace, "batch/v1", "CronJob", name[:cut])
}
