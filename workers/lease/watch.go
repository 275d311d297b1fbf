package lease

import "time"

// watch finds out who is dead: by its own clock alone, it sees for how long the beat of
// another worker has not changed.
type watch struct {
	expire time.Duration
	// last is when the table was seen before.
	last time.Time
	seen map[string]sight
}

type sight struct {
	beat  uint64
	since time.Time // when this beat was first seen
}

// look takes in a table that was asked for at one time and had arrived at another. It
// returns the workers that are dead.
//
// Who looks away for half of expire (NATS was gone, the process was stopped) knows nothing
// of that time: perhaps nobody could beat in it. So the wait for everyone begins anew.
func (w *watch) look(t Table, asked, arrived time.Time) map[string]bool {
	blind := w.last.IsZero() || asked.Sub(w.last) > w.expire/2
	w.last = arrived
	now := make(map[string]sight, len(t.Workers))
	dead := map[string]bool{}
	for id, worker := range t.Workers {
		s, ok := w.seen[id]
		if blind || !ok || s.beat != worker.Beat {
			s = sight{worker.Beat, arrived}
		}
		now[id] = s
		if asked.Sub(s.since) >= w.expire {
			dead[id] = true
		}
	}
	w.seen = now
	return dead
}

// silent is for how long a worker has not changed its beat.
func (w *watch) silent(id string, now time.Time) time.Duration {
	s, ok := w.seen[id]
	if !ok {
		return 0
	}
	return now.Sub(s.since)
}

// forget begins anew. Who cannot write knows nothing of the others: perhaps nobody can.
func (w *watch) forget() { w.last = time.Time{} }

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
