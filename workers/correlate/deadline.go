package correlate

import (
	"math"
	"time"
)

// deadline is a moment in stream time and in event time; it has passed when one of them has. Live, both go
// at one pace. A file that is played within a second has event time alone.
type deadline struct{ seen, time int64 }

var never = deadline{math.MaxInt64, math.MaxInt64}

func (d deadline) earlier(e deadline) deadline {
	return deadline{min(d.seen, e.seen), min(d.time, e.time)}
}

// live is how far event time may lie behind stream time for input to be live. Event time of live input stands
// still while nothing happens, so it must not decide how long something lasts.
const live = time.Minute

// in is the deadline after a time.
func (r *realtime) in(d time.Duration) deadline {
	now, base := r.memory.now, r.clock.latest
	if now-base < int64(live) {
		base = now
	}
	return deadline{now + int64(d), base + int64(d)}
}

func (r *realtime) passed(d deadline) bool { return r.memory.now >= d.seen || r.clock.latest >= d.time }

// wait has an incident reviewed at a deadline.
func (r *realtime) wait(inc *incident, d deadline) {
	r.next = r.next.earlier(d)
	if !inc.watched {
		inc.watched = true
		r.watched = append(r.watched, inc)
	}
}

// advance moves stream time, and reviews the incidents that wait when a deadline has passed.
func (r *realtime) advance(now int64) {
	r.memory.forget(now)
	if !r.passed(r.next) {
		return
	}
	waiting := r.watched
	r.watched, r.next = nil, never
	for _, inc := range waiting {
		inc.watched = false
		r.review(inc.find())
	}
}
