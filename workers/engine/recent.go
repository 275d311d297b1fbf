package engine

import "time"

// How long and how many acknowledged sequences are remembered, at least; twice that at most.
const (
	recentAge  = time.Minute
	recentSize = 32 << 10
)

// recent remembers which messages this worker acknowledged a short while ago. A server that
// was restarted, or never got the acknowledgement, delivers them again: they are
// acknowledged again and not processed, since all they caused is stored. That matters most
// for loose messages, which would be packed into other frames the second time.
//
// It is short, because a consumer may be reset on purpose, to process a stream again. It is
// guarded by the lock of the input.
type recent struct {
	now, before map[uint64]struct{}
	since       int64 // Unix nanoseconds of the first one in now
}

func (r *recent) add(seq uint64, at int64) {
	if len(r.now) >= recentSize || at-r.since > int64(recentAge) {
		r.rotate(at)
	}
	r.now[seq] = struct{}{}
}

// has says whether seq was added; at is the time.
func (r *recent) has(seq uint64, at int64) bool {
	if at-r.since > int64(recentAge) {
		r.rotate(at)
	}
	if _, ok := r.now[seq]; ok {
		return true
	}
	_, ok := r.before[seq]
	return ok
}

func (r *recent) rotate(at int64) {
	if at-r.since > 2*int64(recentAge) { // all of it is old
		clear(r.now)
	}
	r.now, r.before = r.before, r.now
	if r.now == nil {
		r.now = map[uint64]struct{}{}
	}
	clear(r.now)
	r.since = at
}
