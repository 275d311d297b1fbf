package runs

// queued is what waits until everything before it has come: a span, or a value.
type queued struct {
	at    int64 // when it is counted: the end of a span, the time of a value
	order int64 // of arrival

	id, parent    uint64
	duration      int64
	kind          Kind
	service, peer *Service
	route         *route
	link          *link // to a database

	gauge  *gauge
	series *series
	value  float64
	alarm  *Alarm
}

// queue gives what waits in the order of its times, and of its arrival where these are equal.
type queue struct {
	heap  []queued
	order int64
}

func (q *queue) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *queue) push(x queued) {
	q.order++
	x.order = q.order
	q.heap = append(q.heap, x)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.before(i, up) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() queued {
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0] = q.heap[last]
	q.heap[last] = queued{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if right := down + 1; right < last && q.before(right, down) {
			down = right
		}
		if !q.before(down, i) {
			break
		}
		q.heap[i], q.heap[down] = q.heap[down], q.heap[i]
		i = down
	}
	return first
}

// enqueue has something wait for its time. What lies behind what is counted already is counted next. Without room the first one is counted at once.
func (c *Core) enqueue(q queued) {
	if len(c.queue.heap) >= 2*c.limits.Waiting {
		c.counts.Waiting++
		first := c.queue.pop()
		c.frontier = max(c.frontier, first.at)
		c.count(&first)
	}
	q.at = max(q.at, c.frontier)
	c.queue.push(q)
}

// count counts what has waited.
func (c *Core) count(q *queued) {
	switch {
	case q.alarm != nil:
		c.raise(q.alarm)
	case q.series != nil:
		c.sample(q.series, q.value, q.at)
	case q.gauge != nil:
		c.measure(q.gauge, q.value, q.at)
	default:
		c.complete(q)
	}
}
