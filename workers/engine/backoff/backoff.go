package backoff

import "time"

// Wait returns the wait before the next try after failures failures: initial doubled
// each time, at most limit, with up to half of it taken off at random (jitter in [0,1)) so
// that workers that failed together do not come back together.
func Wait(initial, limit time.Duration, failures int, jitter float64) time.Duration {
	wait := limit
	if failures < 30 && initial<<failures > 0 {
		wait = min(initial<<failures, limit)
	}
	return wait - time.Duration(jitter*float64(wait)/2)
}
