package kubernetes

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The keys under which an object says what its service is called and how critical it is:
// the OpenTelemetry convention for resource attributes as annotations, or a label named as
// the attribute.
const (
	annotationServiceName = "resource.opentelemetry.io/service.name"
	annotationCriticality = "resource.opentelemetry.io/service.criticality"
	labelCriticality      = "service.criticality"
)

// criticality returns service.criticality of an object: critical, high, medium or low, or
// empty when it says nothing or something else.
func criticality(o *metav1.ObjectMeta) string {
	value, ok := o.Annotations[annotationCriticality]
	if !ok {
		value = o.Labels[labelCriticality]
	}
	switch value {
	case "critical", "high", "medium", "low":
		return value
	}
	return ""
}

// SetWorkload adds a controller of pods (Deployment, ReplicaSet, StatefulSet, DaemonSet, Job,
// CronJob) or brings it up to date.
func (s *Store) SetWorkload(apiVersion, kind string, o *metav1.ObjectMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	w := s.workload(intern(o.Namespace), apiVersion, kind, intern(o.Name).Value())
	s.setWorkloadID(w, intern(string(o.UID)).Value())
	w.known = true
	w.ended.Store(0)
	w.apiVersion = intern(apiVersion)
	w.criticality = intern(criticality(o))
	before := w.parent
	w.parent = nil
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		w.parent = &ownerName{ref.Kind, ref.Name, string(ref.UID), ref.APIVersion}
	}
	if kind == kindReplicaSet && !before.names(w.parent) {
		s.regroup(w)
	}
}

// setWorkloadID gives w its uid, in place of the one of another object of its name.
func (s *Store) setWorkloadID(w *workload, uid string) {
	delete(s.workloadID, w.uid)
	w.uid = uid
	s.workloadID[uid] = w
}

// DeleteWorkload marks a controller of pods as deleted.
func (s *Store) DeleteWorkload(kind, namespace, name, uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	w := s.workloads[workloadName{intern(namespace), intern(kind), name}]
	for w != nil && w.uid != uid {
		w = w.namesake
	}
	if w == nil || w.ended.Load() != 0 {
		return
	}
	at := s.now().UnixNano()
	w.ended.Store(at)
	s.deleted = append(s.deleted, tombstone{at: at, workload: w})
}

// unreference drops a workload that no pod and no object names any more.
func (s *Store) unreference(w *workload) {
	if w == nil {
		return
	}
	w.references--
	s.dropWorkload(w)
}

func (s *Store) dropWorkload(w *workload) {
	if w.references > 0 || w.known {
		return
	}
	s.unlink(w)
	if s.workloadID[w.uid] == w {
		delete(s.workloadID, w.uid)
	}
}

// unlink takes w out of those of its name.
func (s *Store) unlink(w *workload) {
	head := s.workloads[w.workloadName]
	switch {
	case head == w && w.namesake == nil:
		delete(s.workloads, w.workloadName)
	case head == w:
		s.workloads[w.workloadName] = w.namesake
	default:
		for head != nil && head.namesake != w {
			head = head.namesake
		}
		if head != nil {
			head.namesake = w.namesake
		}
	}
}

// SetNode adds a node or brings it up to date.
func (s *Store) SetNode(o *metav1.ObjectMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	n := s.node(intern(o.Name).Value())
	delete(s.nodeID, n.uid)
	n.uid, n.known = string(o.UID), true
	s.nodeID[n.uid] = n
	n.ended.Store(0)
}

// DeleteNode marks a node as deleted.
func (s *Store) DeleteNode(name, uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	n := s.nodes[name]
	if n == nil || n.uid != uid || n.ended.Load() != 0 {
		return
	}
	at := s.now().UnixNano()
	n.ended.Store(at)
	s.deleted = append(s.deleted, tombstone{at: at, node: n})
}

// dropNode drops a node that no pod and no object names any more.
func (s *Store) dropNode(n *node) {
	if n.references > 0 || n.known {
		return
	}
	delete(s.nodes, n.name)
	delete(s.nodeID, n.uid)
}

// SetNamespace adds a namespace or brings it up to date.
func (s *Store) SetNamespace(o *metav1.ObjectMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespace(o.Name)
	n.uid, n.known = string(o.UID), true
	n.criticality = intern(criticality(o))
}

// DeleteNamespace forgets a namespace once it holds nothing: its last pods and services may be
// told later.
func (s *Store) DeleteNamespace(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.namespaces[name]; n != nil {
		n.known = false
		s.dropNamespace(n)
	}
}

// dropNamespace drops a namespace that nothing names any more.
func (s *Store) dropNamespace(n *namespace) {
	if n.references == 0 && len(n.services) == 0 && !n.known {
		delete(s.namespaces, n.text.Value())
	}
}

// sweep forgets deleted objects whose time is over. s.mu is held.
func (s *Store) sweep() {
	limit := s.now().Add(-s.keepDeleted).UnixNano()
	n := 0
	for n < len(s.deleted) && s.deleted[n].at <= limit {
		s.forget(s.deleted[n])
		n++
	}
	if n == 0 {
		return
	}
	left := copy(s.deleted, s.deleted[n:])
	clear(s.deleted[left:])
	s.deleted = s.deleted[:left]
}

// forget drops a tombstone, unless its object has come back under the same name.
func (s *Store) forget(t tombstone) {
	switch {
	case t.ip.IsValid():
		s.forgetLeases(t.ip, t.pod, t.at)
	case t.pod != nil:
		s.forgetPod(t.pod)
	case t.workload != nil && t.workload.ended.Load() == t.at:
		t.workload.known = false
		s.dropWorkload(t.workload)
	case t.node != nil && t.node.ended.Load() == t.at:
		t.node.known = false
		s.dropNode(t.node)
	}
}
