package pipeline

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// recentFor is longer than a cache is behind what was written.
const recentFor = time.Minute

// recent remembers the Stages that were made a moment ago: the cache may not show them yet.
type recent struct {
	mu   sync.Mutex
	made map[types.UID]time.Time
}

// first says whether a Stage was not known.
func (r *recent) first(stage types.UID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.made[stage]; known {
		return false
	}
	maps.DeleteFunc(r.made, func(_ types.UID, at time.Time) bool { return now.Sub(at) > recentFor })
	if r.made == nil {
		r.made = map[types.UID]time.Time{}
	}
	r.made[stage] = now
	return true
}
