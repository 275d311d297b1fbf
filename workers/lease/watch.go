package lease

import "time"

// watch finds out who is dead: by its own clock alone, it sees for how long the beat of
// another worker has not changed.
type watch struct {
	expire time.Duration
	// last is when the table was seen before.
	last time.Time
	// skipped says that since then this worker could not read or not write.
	skipped bool
	seen    map[string]sight
}

type sight struct {
	beat  uint64
	since time.Time // when this beat was first seen, later by the times that do not count
}

// look takes in a table that was asked for at one time and had arrived at another. It
// returns the workers that are dead.
//
// Time in which this worker could not read or not write, or did not look for half of expire
// (it was stopped itself), does not count: perhaps nobody could beat in it.
func (w *watch) look(t Table, asked, arrived time.Time) map[string]bool {
	var lost time.Duration
	if w.skipped || asked.Sub(w.last) > w.expire/2 {
		lost = arrived.Sub(w.last)
	}
	seen := make(map[string]sight, len(t.Workers))
	dead := map[string]bool{}
	for id, worker := range t.Workers {
		s, ok := w.seen[id]
		if !ok || s.beat != worker.Beat {
			s = sight{worker.Beat, arrived}
		} else {
			s.since = s.since.Add(lost)
		}
		seen[id] = s
		if asked.Sub(s.since) >= w.expire {
			dead[id] = true
		}
	}
	w.seen, w.last, w.skipped = seen, arrived, false
	return dead
}

// skip says that this worker could not read or not write.
func (w *watch) skip() { w.skipped = true }

// silent is for how long a worker has not changed its beat.
func (w *watch) silent(id string, now time.Time) time.Duration {
	s, ok := w.seen[id]
	if !ok {
		return 0
	}
	return now.Sub(s.since)
}

// next is how long it takes until a worker in t other than me can turn out to be dead; at
// most expire.
func (w *watch) next(t Table, me string, now time.Time) time.Duration {
	wait := w.expire
	for id := range t.Workers {
		if s, ok := w.seen[id]; ok && id != me {
			wait = min(wait, s.since.Add(w.expire).Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}
