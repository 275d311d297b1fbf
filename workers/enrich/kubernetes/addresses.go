package kubernetes

import (
	"net/netip"
	"sync/atomic"
)

// address remembers the last two leases of an IP, the current one first.
type address [2]*lease

// lease is the time that one pod had an address.
type lease struct {
	pod  *pod
	from int64
	// until is 0 while the pod has the address.
	until atomic.Int64
}

func (l *lease) holds(at int64) bool {
	until := l.until.Load()
	return at >= l.from && (until == 0 || at < until)
}

// lease gives ip to p, beginning at from. Objects may come in any order: an older pod takes its
// place behind a newer one that has the address. s.mu is held.
func (s *Store) lease(ip netip.Addr, p *pod, from int64) {
	a := s.addresses[ip]
	if a == nil {
		a = &address{}
		s.addresses[ip] = a
	}
	next := &lease{pod: p, from: from}
	current := a[0]
	if current == nil || from >= current.from {
		if current != nil {
			// A pod starts some seconds before it gets its address, which another one may have had
			// until then.
			if until := current.until.Load(); until != 0 {
				next.from = max(from, until)
			}
			current.end(next.from)
		}
		a[0], a[1] = next, current
		return
	}
	if until := current.until.Load(); until != 0 {
		next.from = max(from, until) // p waited for the address longer than the newer pod had it
		a[0], a[1] = next, current
		return
	}
	next.until.Store(current.from)
	if a[1] == nil || from >= a[1].from {
		a[1] = next
	}
}

// leaseUntil gives ip to p for a time that is over, where the leases that are known leave room for
// it. s.mu is held.
func (s *Store) leaseUntil(ip netip.Addr, p *pod, from, until int64) {
	a := s.addresses[ip]
	if a == nil {
		a = &address{}
		s.addresses[ip] = a
	}
	next := &lease{pod: p, from: from}
	next.until.Store(until)
	switch current := a[0]; {
	case current == nil:
		a[0] = next
	case from >= current.from && current.until.Load() != 0: // after one that has ended
		next.from = max(from, current.until.Load())
		a[0], a[1] = next, current
	case from < current.from && (a[1] == nil || from >= a[1].from):
		next.end(current.from)
		a[1] = next
	}
}

// end closes the lease at the given time, unless it has ended before.
func (l *lease) end(at int64) {
	if until := l.until.Load(); until == 0 || until > at {
		l.until.Store(at)
	}
}

// release ends what p holds of ip; another pod's lease is not touched. s.mu is held.
func (s *Store) release(ip netip.Addr, p *pod, at int64) {
	a := s.addresses[ip]
	if a == nil {
		return
	}
	for _, l := range a {
		if l != nil && l.pod == p {
			l.end(at)
		}
	}
}

// endedBy tells whether the lease is one of p that had ended at the given time.
func (l *lease) endedBy(p *pod, at int64) bool {
	if l == nil || l.pod != p {
		return false
	}
	until := l.until.Load()
	return until != 0 && until <= at
}

// forgetLeases drops the leases of p that had ended at the given time: p may have got the address
// back since. s.mu is held.
func (s *Store) forgetLeases(ip netip.Addr, p *pod, at int64) {
	a := s.addresses[ip]
	if a == nil {
		return
	}
	if a[1].endedBy(p, at) {
		a[1] = nil
	}
	if a[0].endedBy(p, at) {
		a[0], a[1] = a[1], nil
	}
	if a[0] == nil {
		delete(s.addresses, ip)
	}
}

// leaseAt returns the lease of ip that holds at the time, or nil. s.mu is held.
func (s *Store) leaseAt(ip netip.Addr, at int64) *lease {
	a := s.addresses[ip]
	if a == nil {
		return nil
	}
	for _, l := range a {
		if l != nil && l.holds(at) {
			return l
		}
	}
	return nil
}
