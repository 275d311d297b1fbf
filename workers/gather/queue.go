package gather

import "sync"

// queue has the rounds whose requests one target is to be sent, in order. Rounds of events that are replayed come behind all others, and only
// a part of the requests under way may be theirs.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond
	rounds  line
	replays line
	// sent is how many requests of replays are under way, of most.
	sent, most int
	closed     bool
}

// line is rounds in order.
type line struct {
	rounds []*round
	next   int // the next request of the first round
}

func newQueue(most int) *queue {
	q := &queue{most: max(most, 1)}
	q.filled.L = &q.mu
	return q
}

func (q *queue) add(r *round) {
	q.mu.Lock()
	to := &q.rounds
	if r.replay {
		to = &q.replays
	}
	to.rounds = append(to.rounds, r)
	q.mu.Unlock()
	q.filled.Broadcast()
}

// take waits for a request; ok is false when the queue is closed. Who takes a request says when it is over (done).
func (q *queue) take() (r *round, request int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		if r, request, ok = q.rounds.take(); ok {
			return r, request, true
		}
		if q.sent < q.most {
			if r, request, ok = q.replays.take(); ok {
				q.sent++
				return r, request, true
			}
		}
		q.filled.Wait()
	}
	return nil, 0, false
}

// done says that a request of r is not under way any more, or was not sent.
func (q *queue) done(r *round) {
	if !r.replay {
		return
	}
	q.mu.Lock()
	q.sent--
	q.mu.Unlock()
	q.filled.Signal()
}

func (l *line) take() (r *round, request int, ok bool) {
	for len(l.rounds) > 0 {
		r, request = l.rounds[0], l.next
		if request < r.size() {
			l.next++
			return r, request, true
		}
		l.rounds[0] = nil
		l.rounds, l.next = l.rounds[1:], 0
	}
	return nil, 0, false
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.filled.Broadcast()
}
