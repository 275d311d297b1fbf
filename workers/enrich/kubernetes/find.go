package kubernetes

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/event"
)

// Find resolves q; nil = not known. See enrich.Query.
func (s *Store) Find(q enrich.Query) *enrich.Facts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if q.UID != "" {
		if f := s.findUID(q); f != nil {
			return f
		}
		// It may be known only by name: a node, or a Deployment's ReplicaSet, that nothing but a
		// pod has named.
	}
	if q.Name != "" {
		return s.findName(q)
	}
	if q.IP != "" {
		return s.findIP(q)
	}
	return nil
}

func (s *Store) findUID(q enrich.Query) *enrich.Facts {
	if p := s.pods[q.UID]; p != nil && !s.expired(p) {
		return s.podFacts(p, enrich.Validity{})
	}
	if w := s.workloadID[q.UID]; w != nil {
		return s.workloadFacts(w)
	}
	if n := s.nodeID[q.UID]; n != nil {
		return s.nodeFacts(n)
	}
	if svc := s.serviceID[q.UID]; svc != nil {
		return s.serviceFacts(svc)
	}
	return nil
}

// findName finds by kind, namespace and name. A uid in the query must not contradict: then
// the object of that name is another one.
func (s *Store) findName(q enrich.Query) *enrich.Facts {
	switch q.Kind {
	case "", "Pod":
		return s.findPodName(q)
	case "Node":
		return s.findNode(q)
	case "Service":
		return s.findService(q)
	default:
		return s.findWorkload(q)
	}
}

func (s *Store) findPodName(q enrich.Query) *enrich.Facts {
	p := s.podNames[objectName{intern(q.Namespace), q.Name}]
	if p == nil || q.UID != "" && p.uid != q.UID {
		return nil
	}
	from := p.created
	if p.previous != nil && q.At != 0 && q.At < p.created {
		p, from = p.previous, 0
	} else if p.previous == nil {
		from = 0 // the only one of this name: also for an event that a clock ahead dated early
	}
	if s.expired(p) {
		return nil
	}
	return s.podFacts(p, enrich.Validity{From: from, Until: &p.ended})
}

func (s *Store) findIP(q enrich.Query) *enrich.Facts {
	ip, err := netip.ParseAddr(q.IP)
	if err != nil {
		return nil
	}
	at := q.At
	if at == 0 {
		at = s.now().UnixNano()
	}
	l := s.leaseAt(ip.Unmap(), at)
	if l == nil || s.expired(l.pod) {
		return nil
	}
	return s.podFacts(l.pod, enrich.Validity{From: l.from, Until: &l.until})
}

// expired tells whether a deleted pod is not to be found any more, swept or not.
func (s *Store) expired(p *pod) bool {
	ended := p.ended.Load()
	return ended != 0 && s.now().UnixNano()-ended > s.keepDeleted.Nanoseconds()
}

func (s *Store) findNode(q enrich.Query) *enrich.Facts {
	n := s.nodes[q.Name]
	if n == nil {
		return nil
	}
	if q.UID != "" && n.uid != "" && q.UID != n.uid && q.UID != n.name {
		return nil // the kubelet names its node by name in place of the uid
	}
	return s.nodeFacts(n)
}

func (s *Store) findService(q enrich.Query) *enrich.Facts {
	ns := s.namespaces[q.Namespace]
	if ns == nil || ns.services[q.Name] == nil {
		return nil
	}
	svc := ns.services[q.Name]
	if q.UID != "" && q.UID != svc.uid {
		return nil
	}
	return s.serviceFacts(svc)
}

// hashSuffix is what the Deployment controller appends to the name of a ReplicaSet.
var hashSuffix = regexp.MustCompile(`^[a-z0-9]{1,10}$`)

// jobSuffix is what the CronJob controller appends to the name of a Job: minutes since 1970.
var jobSuffix = regexp.MustCompile(`^[0-9]{8,}$`)

func (s *Store) findWorkload(q enrich.Query) *enrich.Facts {
	if w := s.workloadNamed(q.Namespace, q.Kind, q.Name); w != nil {
		if q.UID != "" && w.uid != "" && q.UID != w.uid {
			return nil
		}
		return s.workloadFacts(w)
	}
	parent := s.parentByName(q.Namespace, q.Kind, q.Name)
	if parent == nil {
		return nil
	}
	f := s.workloadFacts(parent)
	// The strings of a query belong to an event; facts live longer.
	child := event.EntityRef{
		Kind: strings.Clone(q.Kind), Namespace: strings.Clone(q.Namespace), Name: strings.Clone(q.Name), UID: strings.Clone(q.UID),
	}
	f.Owners = append([]event.EntityRef{f.Entity}, f.Owners...)
	f.Entity = child
	return f
}

func (s *Store) workloadNamed(namespace, kind, name string) *workload {
	return s.workloads[workloadName{intern(namespace), intern(kind), name}]
}

// parentByName finds the Deployment of a ReplicaSet and the CronJob of a Job by their names;
// nil when there is none of that name.
func (s *Store) parentByName(namespace, kind, name string) *workload {
	cut := strings.LastIndexByte(name, '-')
	if cut < 1 {
		return nil
	}
	switch base, suffix := name[:cut], name[cut+1:]; {
	case kind == "ReplicaSet" && hashSuffix.MatchString(suffix):
		return s.workloadNamed(namespace, "Deployment", base)
	case kind == "Job" && jobSuffix.MatchString(suffix):
		return s.workloadNamed(namespace, "CronJob", base)
	}
	return nil
}

// parent is the controller of a workload; nil without.
func (s *Store) parent(w *workload) *workload {
	ns, kind := w.namespace.Value(), w.kind.Value()
	if w.parent != nil {
		return s.workloadNamed(ns, w.parent.kind, w.parent.name)
	}
	if w.known && kind == "ReplicaSet" {
		return nil // the object itself names no controller
	}
	return s.parentByName(ns, kind, w.name)
}

func (s *Store) clusterUID() string {
	if ns := s.namespaces["kube-system"]; ns != nil {
		return ns.uid
	}
	return ""
}

// services are sorted by namespace and name, so that equal facts encode equally.
func serviceRefs(services []*service) []event.EntityRef {
	refs := make([]event.EntityRef, 0, len(services))
	for _, svc := range services {
		refs = append(refs, svc.ref())
	}
	slices.SortFunc(refs, func(a, b event.EntityRef) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return refs
}
