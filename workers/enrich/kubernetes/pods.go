package kubernetes

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetPod adds a pod or brings it up to date.
func (s *Store) SetPod(o *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	s.setPod(o)
}

func (s *Store) setPod(o *corev1.Pod) {
	uid := string(o.UID)
	p := s.pods[uid]
	if p == nil {
		p = s.newPod(o)
	}
	if p.ended.Load() != 0 {
		return // a late update of a pod that is deleted
	}
	counted := p.counts() && p.isKnown()
	if counted {
		s.count(p, -1)
	}
	s.describe(p, o)
	s.count(p, +1)
	s.leases(p, o)
}

// isKnown tells whether describe has filled p before.
func (p *pod) isKnown() bool { return p.namespace != nil }

func (s *Store) newPod(o *corev1.Pod) *pod {
	p := &pod{uid: strings.Clone(string(o.UID)), name: strings.Clone(o.Name), created: nanos(o.CreationTimestamp)}
	s.pods[p.uid] = p
	key := objectName{intern(o.Namespace), p.name}
	switch older := s.podNames[key]; {
	case older == nil:
		s.podNames[key] = p
	case older.created <= p.created:
		p.previous = older
		older.previous = nil
		s.podNames[key] = p
	default:
		older.previous = p
	}
	return p
}

// describe copies what look-ups need.
func (s *Store) describe(p *pod, o *corev1.Pod) {
	ns := s.namespace(o.Namespace)
	if p.namespace == nil {
		ns.references++
	}
	p.namespace = ns
	p.started = 0
	if o.Status.StartTime != nil {
		p.started = nanos(*o.Status.StartTime)
	}
	p.finished = o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
	s.setStaticUID(p, o)
	p.labels = labelsOf(o.Labels, p.labels)
	p.serviceName = intern(o.Annotations[annotationServiceName])
	p.criticality = intern(criticality(&o.ObjectMeta))
	if o.Spec.NodeName != "" && p.node == nil {
		p.node = s.node(o.Spec.NodeName)
		p.node.references++
	}
	s.own(p, o)
	p.services = ns.selecting(p.labels, p.services[:0])
}

// The annotations of a static pod's mirror in the API that hold the uid by which the kubelet, which
// made the pod from a file, calls it in its events: the hash of that file.
const (
	annotationMirror = "kubernetes.io/config.mirror"
	annotationHash   = "kubernetes.io/config.hash"
)

// setStaticUID notes what the kubelet calls a static pod. The API server has no other pod carry the
// first annotation; the second counts only where the node is the controller.
func (s *Store) setStaticUID(p *pod, o *corev1.Pod) {
	uid := o.Annotations[annotationMirror]
	if ref := metav1.GetControllerOfNoCopy(o); uid == "" && ref != nil && isNode(ref) {
		uid = o.Annotations[annotationHash]
	}
	if uid == p.staticUID {
		return
	}
	if s.static[p.staticUID] == p {
		delete(s.static, p.staticUID)
	}
	p.staticUID = strings.Clone(uid)
	if uid != "" {
		s.static[p.staticUID] = p
	}
}

// count adds p to, or takes it from, what it is part of.
func (s *Store) count(p *pod, by int) {
	if !p.counts() && by > 0 {
		return
	}
	if p.workload != nil {
		p.workload.pods += by
	}
	for _, svc := range p.services {
		svc.pods += by
	}
	if by > 0 {
		p.namespace.pods[p] = struct{}{}
		if p.node != nil {
			p.node.pods[p] = struct{}{}
		}
		return
	}
	delete(p.namespace.pods, p)
	if p.node != nil {
		delete(p.node.pods, p)
	}
}

// DeletePod marks the pod with this uid as deleted. A pod of the same name or IP with
// another uid is not touched, however late the deletion is told.
func (s *Store) DeletePod(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if p := s.pods[uid]; p != nil {
		s.deletePod(p)
	}
}

func (s *Store) deletePod(p *pod) {
	if p.ended.Load() != 0 {
		return
	}
	if p.counts() {
		s.count(p, -1)
	}
	at := s.now().UnixNano()
	p.ended.Store(at)
	for _, ip := range p.ips {
		if ip.IsValid() {
			s.release(ip, p, at)
		}
	}
	s.deleted = append(s.deleted, tombstone{at: at, pod: p})
}

// forgetPod drops a pod for good.
func (s *Store) forgetPod(p *pod) {
	for _, ip := range p.ips {
		if ip.IsValid() {
			s.forgetLeases(ip, p, p.ended.Load())
		}
	}
	delete(s.pods, p.uid)
	key := objectName{p.namespace.text, p.name}
	switch head := s.podNames[key]; {
	case head == p && p.previous != nil:
		s.podNames[key] = p.previous
	case head == p:
		delete(s.podNames, key)
	case head != nil && head.previous == p:
		head.previous = nil
	}
	if s.static[p.staticUID] == p {
		delete(s.static, p.staticUID)
	}
	s.belongs(p, nil, nil)
	p.namespace.references--
	s.dropNamespace(p.namespace)
	if p.node != nil {
		p.node.references--
		s.dropNode(p.node)
	}
}

// labelsOf returns labels sorted by key; old is returned when it is equal.
func labelsOf(from map[string]string, old []label) []label {
	if len(from) == len(old) {
		same := true
		for _, l := range old {
			if v, ok := from[l.key.Value()]; !ok || v != l.value.Value() {
				same = false
				break
			}
		}
		if same {
			return old
		}
	}
	labels := make([]label, 0, len(from))
	for k, v := range from {
		labels = append(labels, label{intern(k), intern(v)})
	}
	slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.key.Value(), b.key.Value()) })
	return labels
}

// nanos is t in Unix nanoseconds; 0 = unset.
func nanos(t metav1.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
