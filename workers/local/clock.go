package local

import (
	"slices"
	"sync"
	"time"
)

// clockPace is how many times slower than the wall clock a streamClock goes between two jumps: two messages never share a time, and a minute that a
// busy machine takes to process what is there is a quarter of a second.
const clockPace = 256

// streamClock turns the times at which the server stores messages into those of a clock that jumps. It never goes back.
type streamClock struct {
	mu    sync.Mutex
	jumps []jump // in order
}

// jump: what is stored from wall on is stored at stream time to, and little later.
type jump struct{ wall, to time.Time }

func newStreamClock(wall, start time.Time) *streamClock {
	return &streamClock{jumps: []jump{{wall.Round(0), start}}}
}

// at is the stream time of a moment of the wall clock.
func (c *streamClock) at(wall time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(wall.Round(0))
}

func (c *streamClock) read(wall time.Time) time.Time {
	i, found := slices.BinarySearchFunc(c.jumps, wall, func(j jump, t time.Time) int { return j.wall.Compare(t) })
	if !found {
		i--
	}
	if i < 0 {
		return c.jumps[0].to
	}
	return c.jumps[i].to.Add(wall.Sub(c.jumps[i].wall) / clockPace)
}

// jump sets the clock to a stream time from wall on, and returns what it shows: a later time if it was there already.
func (c *streamClock) jump(wall, to time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall = wall.Round(0)
	if shown := c.read(wall); shown.After(to) {
		to = shown
	}
	if last := &c.jumps[len(c.jumps)-1]; !wall.After(last.wall) { // the wall clock was set back
		last.to = to
		return to
	}
	c.jumps = append(c.jumps, jump{wall, to})
	return to
}
