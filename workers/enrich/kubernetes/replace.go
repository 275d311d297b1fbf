package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ReplacePods makes the store hold these pods and no others; what is missing is marked as
// deleted now.
func (s *Store) ReplacePods(all []*corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.UID)] = struct{}{}
	}
	for uid, p := range s.pods {
		if _, ok := there[uid]; !ok {
			s.deletePod(p)
		}
	}
	for _, o := range all {
		s.setPod(o)
	}
}

// ReplaceWorkloads makes the store hold these workloads of a kind and no others.
func (s *Store) ReplaceWorkloads(apiVersion, kind string, all []*metav1.ObjectMeta) {
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.UID)] = struct{}{}
	}
	for _, gone := range s.missing(apiVersion, kind, there) {
		s.DeleteWorkload(kind, gone.Namespace, gone.Name, string(gone.UID))
	}
	for _, o := range all {
		s.SetWorkload(apiVersion, kind, o)
	}
}

func (s *Store) missing(apiVersion, kind string, there map[string]struct{}) (gone []metav1.ObjectMeta) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key, w := range s.workloads {
		if key.kind.Value() != kind {
			continue
		}
		for ; w != nil; w = w.namesake {
			if _, ok := there[w.uid]; !ok && w.known && sameGroup(w.apiVersion.Value(), apiVersion) {
				gone = append(gone, refMeta(key.namespace.Value(), key.name, w.uid))
			}
		}
	}
	return gone
}

// ReplaceNodes makes the store hold these nodes and no others.
func (s *Store) ReplaceNodes(all []*metav1.ObjectMeta) {
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[string(o.UID)] = struct{}{}
	}
	s.mu.RLock()
	var gone []metav1.ObjectMeta
	for name, n := range s.nodes {
		if _, ok := there[n.uid]; !ok && n.known {
			gone = append(gone, refMeta("", name, n.uid))
		}
	}
	s.mu.RUnlock()
	for _, o := range gone {
		s.DeleteNode(o.Name, string(o.UID))
	}
	for _, o := range all {
		s.SetNode(o)
	}
}

// ReplaceNamespaces makes the store hold these namespaces and no other empty ones.
func (s *Store) ReplaceNamespaces(all []*metav1.ObjectMeta) {
	there := make(map[string]struct{}, len(all))
	for _, o := range all {
		there[o.Name] = struct{}{}
	}
	s.mu.RLock()
	var gone []string
	for name := range s.namespaces {
		if _, ok := there[name]; !ok {
			gone = append(gone, name)
		}
	}
	s.mu.RUnlock()
	for _, name := range gone {
		s.DeleteNamespace(name)
	}
	for _, o := range all {
		s.SetNamespace(o)
	}
}

// ReplaceServices makes the store hold these services and no others. Pods find their services
// once for each namespace, not once for each service.
func (s *Store) ReplaceServices(all []*corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ns := range s.namespaces {
		clear(ns.services)
	}
	clear(s.serviceID)
	for _, o := range all {
		s.setService(o)
	}
	for _, ns := range s.namespaces {
		ns.reselect()
		s.dropNamespace(ns)
	}
}

func refMeta(namespace, name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}
}
