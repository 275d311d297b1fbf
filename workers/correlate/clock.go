package correlate

import "time"

const (
	// maxJump is how far one event may move event time.
	maxJump = time.Hour
	// jumpVotes events in a row that lie elsewhere, those behind near to each other, do move it: input
	// began anew. One host with a wrong clock among others does not.
	jumpVotes = 8
)

// clock is the latest event time, as far as events agree on it: one of a host whose clock
// is a year behind must not begin it anew. What seems to lie ahead of stream time counts as of
// then, or one of a host whose clock is ahead would end every window and incident. It follows
// from the events and from when they were stored, so the same input is told the same way
// whenever it runs.
type clock struct {
	silence   int64 // nanoseconds of stream time without an event after which it begins anew
	latest    int64 // Unix nanoseconds; 0 = there was no event
	votes     int
	elsewhere int64 // the time of the last vote
	seen      int64 // the stream time of the last event
}

// silent says whether no event came for so long that the next one begins anew.
func (c *clock) silent(now int64) bool { return c.latest != 0 && now-c.seen > c.silence }

// see takes the time of one event and when it was stored. It returns the time that the event
// counts for, and whether event time went back or began anew.
func (c *clock) see(at, now int64) (counts int64, back bool) {
	if c.silent(now) {
		*c, back = clock{silence: c.silence}, true
	}
	c.seen = max(c.seen, now)
	at = min(at, c.seen)
	if c.latest == 0 || abs(at-c.latest) <= int64(maxJump) {
		c.latest, c.votes = max(c.latest, at), 0
		return at, back
	}
	// History goes ahead in steps of any size. What lies behind must agree.
	if abs(at-c.elsewhere) > int64(maxJump) && min(at, c.elsewhere) < c.latest {
		c.votes = 0
	}
	c.elsewhere = at
	if c.votes++; c.votes == jumpVotes {
		back = back || at < c.latest
		c.latest, c.votes = at, 0
	}
	return at, back
}
