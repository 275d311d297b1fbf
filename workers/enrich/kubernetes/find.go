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
	if p := s.static[q.UID]; p != nil && !s.expired(p) && (q.Name == "" || q.Name == p.name) {
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
	if q.APIVersion != "" && group(q.APIVersion) != "" {
		return s.findWorkload(q) // no kind of the core, whatever it is called
	}
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
	if p.previous == nil || q.At != 0 && q.At < p.created {
		// It is the first of its name that the store knows. As long as the store remembers, it would
		// know of another one: an event from before the pod is then of this pod, and was dated early by
		// a clock that is behind. An event from before that is of a pod that nobody knows.
		p = cmp.Or(p.previous, p)
		from = min(p.created, s.remembers())
	}
	if s.expired(p) || q.At != 0 && q.At < from {
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

// remembers is since when the store knows all objects, those that have ended meanwhile included.
func (s *Store) remembers() int64 {
	return max(s.began, s.now().Add(-s.keepDeleted).UnixNano())
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

// jobSuffix is what the CronJob controller appends to the name of a Job: minutes since 1970.
var jobSuffix = regexp.MustCompile(`^[0-9]{8,}$`)

func (s *Store) findWorkload(q enrich.Query) *enrich.Facts {
	if w := s.workloadNamed(q.Namespace, q.APIVersion, q.Kind, q.Name); w != nil {
		if q.UID != "" && w.uid != "" && q.UID != w.uid {
			return nil
		}
		return s.workloadFacts(w)
	}
	parent := s.cronJobNamed(q.Namespace, q.APIVersion, q.Kind, q.Name)
	if parent == nil {
		return nil
	}
	// The strings of a query belong to an event; facts live longer.
	job := event.EntityRef{
		Kind: kindJob, Namespace: strings.Clone(q.Namespace), Name: strings.Clone(q.Name), UID: strings.Clone(q.UID), APIVersion: "batch/v1",
	}
	f := s.partFacts(job, parent, parent.ref())
	f.WorkloadGuessed = true
	return f
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
