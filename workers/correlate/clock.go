package correlate

import "time"

const (
	// maxJump is how far one event may move event time.
	maxJump = time.Hour
	// jumpVotes events in a row that lie elsewhere do move it: input began anew, or after a
	// long silence. One host with a wrong clock among others does not.
	jumpVotes = 8
)

// clock is the latest event time, as far as events agree on it: one of a host whose clock
// is a year ahead must not end every window and incident. It follows from the events
// alone, so the same input is told the same way whenever it runs.
type clock struct {
	latest int64 // Unix nanoseconds
	votes  int
}

// see takes the time of one event, and says whether event time went back.
func (c *clock) see(at int64) (back bool) {
	switch {
	case c.latest == 0 || abs(at-c.latest) <= int64(maxJump):
		c.latest, c.votes = max(c.latest, at), 0
	case c.votes+1 < jumpVotes:
		c.votes++
	default:
		back = at < c.latest
		c.latest, c.votes = at, 0
	}
	return back
}
