package gather

import "sync"

// queue has the rounds whose requests one target is to be sent, in order.
type queue struct {
	mu     sync.Mutex
	filled sync.Cond
	rounds []*round
	next   int // the next request of the first round
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.filled.L = &q.mu
	return q
}

func (q *queue) add(r *round) {
	q.mu.Lock()
	q.rounds = append(q.rounds, r)
	q.mu.Unlock()
	q.filled.Broadcast()
}

// take waits for a request; ok is false when the queue is closed.
func (q *queue) take() (r *round, request int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.rounds) == 0 && !q.closed {
			q.filled.Wait()
		}
		if q.closed {
			return nil, 0, false
		}
		r, request = q.rounds[0], q.next
		if request < r.size() {
			q.next++
			return r, request, true
		}
		q.rounds[0] = nil
		q.rounds, q.next = q.rounds[1:], 0
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.filled.Broadcast()
}
