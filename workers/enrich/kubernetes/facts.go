package kubernetes

import (
	"cmp"
	"slices"

	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/event"
)

// podFacts describes p and what is around it. s.mu is held.
func (s *Store) podFacts(p *pod, valid enrich.Validity) *enrich.Facts {
	f := &enrich.Facts{
		Entity:      event.EntityRef{Kind: "Pod", Namespace: p.namespace.text.Value(), Name: p.name, UID: p.uid, APIVersion: "v1"},
		Pod:         &enrich.PodFacts{Start: p.started, Labels: make([]enrich.Label, len(p.labels))},
		Services:    serviceRefs(p.services),
		ClusterUID:  s.clusterUID(),
		Criticality: cmp.Or(p.criticality.Value(), s.workloadCriticality(p.workload), p.namespace.criticality.Value()),
		Valid:       valid,
	}
	if p.ips[0].IsValid() {
		f.Pod.IP = p.ips[0].String()
	}
	for i, l := range p.labels {
		f.Pod.Labels[i] = enrich.Label{Key: l.key.Value(), Value: l.value.Value()}
	}
	f.ServiceName = p.service()
	if p.node != nil {
		f.Node = p.node.ref()
	}
	f.Owners, f.Workload, f.WorkloadGuessed = s.owners(p)
	f.Radius = enrich.Radius{Pods: 1}
	if w := p.workload; w != nil {
		f.Radius.ShareOf, f.Radius.SharePods = f.Workload, w.pods
		if !p.counts() {
			f.Radius.SharePods++ // it was one of them
		}
		f.Radius.Share = 1 / float64(f.Radius.SharePods)
	} else {
		f.Radius.ShareOf, f.Radius.SharePods, f.Radius.Share = f.Entity, 1, 1
	}
	return f
}

// service is the name of the pod's service as the pod says it, by the order of the
// OpenTelemetry conventions; the rest of the order needs the workload.
func (p *pod) service() string {
	name := p.serviceName.Value()
	for _, key := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/name"} {
		if name != "" {
			break
		}
		for _, l := range p.labels {
			if l.key.Value() == key {
				name = l.value.Value()
			}
		}
	}
	return name
}

func (s *Store) workloadCriticality(w *workload) string {
	for range maxOwners {
		if w == nil {
			return ""
		}
		if c := w.criticality.Value(); c != "" {
			return c
		}
		w, _, _ = s.parent(w)
	}
	return ""
}

func (s *Store) workloadFacts(w *workload) *enrich.Facts {
	if up, ref, _ := s.parent(w); up != nil && w.kind.Value() == kindReplicaSet {
		return s.partFacts(w.ref(), up, ref)
	}
	f := &enrich.Facts{
		Entity:      w.ref(),
		ClusterUID:  s.clusterUID(),
		Criticality: s.workloadCriticality(w),
	}
	if ns := s.namespaces[w.namespace.Value()]; ns != nil {
		f.Criticality = cmp.Or(f.Criticality, ns.criticality.Value())
		f.Services = serviceRefs(s.servicesOf(ns, w))
	}
	f.Owners, f.WorkloadGuessed = s.ancestors(w, nil)
	f.Workload = f.Entity
	if n := len(f.Owners); n > 0 {
		f.Workload = f.Owners[n-1]
	}
	f.Radius = enrich.Radius{Pods: w.pods, Share: 1, ShareOf: f.Entity, SharePods: w.pods}
	return f
}

// partFacts describes a workload whose pods count for the one above it: a ReplicaSet.
func (s *Store) partFacts(part event.EntityRef, up *workload, ref event.EntityRef) *enrich.Facts {
	f := s.workloadFacts(up)
	f.Entity, f.Radius.ShareOf = part, ref
	f.Owners = append([]event.EntityRef{ref}, f.Owners...)
	f.Workload = f.Owners[len(f.Owners)-1]
	return f
}

// servicesOf are the services of all pods of w: in the middle of a rollout their labels differ.
func (s *Store) servicesOf(ns *namespace, w *workload) []*service {
	if w.pods == 0 {
		return nil
	}
	var all []*service
	for p := range ns.pods {
		if p.workload != w {
			continue
		}
		for _, svc := range p.services {
			if !slices.Contains(all, svc) {
				all = append(all, svc)
			}
		}
	}
	return all
}

// nodeFacts finds the workload that loses the largest part of its pods with the node.
func (s *Store) nodeFacts(n *node) *enrich.Facts {
	f := &enrich.Facts{Entity: n.ref(), Node: n.ref(), ClusterUID: s.clusterUID()}
	f.Radius.Pods = len(n.pods)
	here := map[*workload]int{}
	services := map[*service]struct{}{}
	for p := range n.pods {
		if p.workload != nil {
			here[p.workload]++
		}
		for _, svc := range p.services {
			services[svc] = struct{}{}
		}
		f.Criticality = moreCritical(f.Criticality, cmp.Or(p.criticality.Value(), s.workloadCriticality(p.workload), p.namespace.criticality.Value()))
	}
	for w, pods := range here {
		share := float64(pods) / float64(max(w.pods, 1))
		ref := w.ref()
		better := share > f.Radius.Share || share == f.Radius.Share && before(ref, f.Radius.ShareOf)
		if better {
			f.Radius.Share, f.Radius.ShareOf, f.Radius.SharePods = share, ref, w.pods
		}
	}
	all := make([]*service, 0, len(services))
	for svc := range services {
		all = append(all, svc)
	}
	f.Services = serviceRefs(all)
	return f
}

func before(a, b event.EntityRef) bool {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) < 0
}

// moreCritical returns the higher of two values of service.criticality.
func moreCritical(a, b string) string {
	for _, level := range []string{"critical", "high", "medium", "low"} {
		if a == level || b == level {
			return level
		}
	}
	return ""
}

func (s *Store) serviceFacts(svc *service) *enrich.Facts {
	return &enrich.Facts{
		Entity:      svc.ref(),
		Services:    []event.EntityRef{svc.ref()},
		ServiceName: svc.name,
		Criticality: cmp.Or(svc.criticality.Value(), svc.namespace.criticality.Value()),
		ClusterUID:  s.clusterUID(),
		Radius:      enrich.Radius{Pods: svc.pods, Share: 1, ShareOf: svc.ref(), SharePods: svc.pods},
	}
}

func (w *workload) ref() event.EntityRef {
	return event.EntityRef{
		Kind: w.kind.Value(), Namespace: w.namespace.Value(), Name: w.name,
		UID: w.uid, APIVersion: w.apiVersion.Value(),
	}
}

func (n *node) ref() event.EntityRef {
	return event.EntityRef{Kind: "Node", Name: n.name, UID: n.uid, APIVersion: "v1"}
}

func (s *service) ref() event.EntityRef {
	return event.EntityRef{Kind: "Service", Namespace: s.namespace.text.Value(), Name: s.name, UID: s.uid, APIVersion: "v1"}
}
