package chain

import (
	"sync"
	"time"
)

// Throttle lets one of a flood of equal things through in each interval.
type Throttle struct {
	Every time.Duration
	mu    sync.Mutex
	last  time.Time
}

// Allow says whether the thing of this moment gets through.
func (t *Throttle) Allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < t.Every {
		return false
	}
	t.last = now
	return true
}
