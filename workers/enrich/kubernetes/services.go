package kubernetes

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// SetService adds a service or brings it up to date.
func (s *Store) SetService(o *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ns, changed := s.setService(o); changed {
		ns.reselect()
	}
}

// setService stores o and tells whether it selects other pods than before.
func (s *Store) setService(o *corev1.Service) (ns *namespace, changed bool) {
	ns = s.namespace(o.Namespace)
	svc := ns.services[o.Name]
	if svc == nil {
		svc = &service{name: o.Name, namespace: ns}
		ns.services[svc.name] = svc
	}
	delete(s.serviceID, svc.uid)
	svc.uid = string(o.UID)
	s.serviceID[svc.uid] = svc
	svc.criticality = intern(criticality(&o.ObjectMeta))
	selector := labelsOf(o.Spec.Selector, nil)
	changed = !slices.Equal(svc.selector, selector)
	svc.selector = selector
	return ns, changed
}

// DeleteService forgets a service.
func (s *Store) DeleteService(namespace, name, uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := s.namespaces[namespace]
	if ns == nil || ns.services[name] == nil || ns.services[name].uid != uid {
		return
	}
	delete(ns.services, name)
	delete(s.serviceID, uid)
	ns.reselect()
	s.dropNamespace(ns)
}

// selecting appends the services whose selector matches labels. A service without a selector
// selects nothing.
func (n *namespace) selecting(labels []label, into []*service) []*service {
	for _, svc := range n.services {
		if len(svc.selector) > 0 && contains(labels, svc.selector) {
			into = append(into, svc)
		}
	}
	return into
}

// reselect finds the services of every pod of the namespace anew.
func (n *namespace) reselect() {
	for _, svc := range n.services {
		svc.pods = 0
	}
	for p := range n.pods {
		p.services = n.selecting(p.labels, p.services[:0])
		for _, svc := range p.services {
			svc.pods++
		}
	}
}

// contains tells whether labels have every one of the selector.
func contains(labels, selector []label) bool {
	for _, want := range selector {
		if !slices.Contains(labels, want) {
			return false
		}
	}
	return true
}
