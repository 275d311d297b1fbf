package kubernetes

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// leases gives p the addresses that it has, and ends them when its containers have ended.
func (s *Store) leases(p *pod, o *corev1.Pod) {
	if o.Spec.HostNetwork {
		return // the address is the node's and says nothing about the pod
	}
	ips, now := podIPs(o), s.now().UnixNano()
	end := now
	if finish := finishedAt(o); p.finished && finish != 0 {
		end = min(finish, now)
	}
	for _, ip := range p.ips {
		if ip.IsValid() && (p.finished || !slices.Contains(ips[:], ip)) {
			s.release(ip, p, end)
			if !p.finished {
				s.deleted = append(s.deleted, tombstone{at: now, pod: p, ip: ip})
			}
		}
	}
	if p.finished {
		s.past(p, ips, end, now)
		return
	}
	for _, ip := range ips {
		if ip.IsValid() && !slices.Contains(p.ips[:], ip) {
			s.lease(ip, p, p.gets(ip, now))
		}
	}
	p.ips = ips
}

// past gives p, which had finished when the store first saw it, the addresses that it had while it
// ran: those of a Job's pod whose events come late. They are kept as long as those of deleted pods.
func (s *Store) past(p *pod, ips [2]netip.Addr, end, now int64) {
	from := cmp.Or(p.started, p.created)
	if p.ips[0].IsValid() || end <= from || end == now {
		return // it had them, or nobody says when it ended
	}
	for _, ip := range ips {
		if ip.IsValid() {
			s.leaseUntil(ip, p, from, end)
			s.deleted = append(s.deleted, tombstone{at: now, pod: p, ip: ip})
		}
	}
	p.ips = ips
}

// finishedAt is when the last container of a pod ended, in Unix nanoseconds; 0 = not known.
func finishedAt(o *corev1.Pod) int64 {
	var at int64
	for i := range o.Status.ContainerStatuses {
		if t := o.Status.ContainerStatuses[i].State.Terminated; t != nil {
			at = max(at, nanos(t.FinishedAt))
		}
	}
	return at
}

// gets notes that p has an address, and tells since when: its start, or now when it had another
// one before. A pod whose node restarts keeps its start time and gets another address.
func (p *pod) gets(ip netip.Addr, now int64) int64 {
	had := &p.hadIPv6
	if ip.Is4() {
		had = &p.hadIPv4
	}
	if *had {
		return now
	}
	*had = true
	return cmp.Or(p.started, p.created)
}

func podIPs(o *corev1.Pod) (ips [2]netip.Addr) {
	n := 0
	add := func(text string) {
		ip, err := netip.ParseAddr(text)
		if err != nil || n == len(ips) || slices.Contains(ips[:n], ip.Unmap()) {
			return
		}
		ips[n] = ip.Unmap()
		n++
	}
	add(o.Status.PodIP)
	for _, other := range o.Status.PodIPs {
		add(other.IP)
	}
	return ips
}
