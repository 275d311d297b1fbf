package join

import "container/list"

// barrier is a key whose branches have not all answered.
type barrier struct {
	key    string
	number uint64 // of the barriers of the lane, in the order in which they opened
	opened int64  // stream time, Unix nanoseconds
	// newest is a time of the ingress that no event of the barrier is later than: a branch whose watermark is there has nothing more to say.
	newest int64
	// since is a watermark that no answer came before: while the barrier waits, the outputs of the join say no more than that.
	since    int64
	answers  []answer
	answered uint64 // set of branches
	silent   uint64 // set of expected branches that had nothing to say
	bytes    int
	place    *list.Element // among the open ones
	places   []int         // in each queue; -1 = it is not in there

	// Most barriers have two branches: memory for them.
	two   [2]answer
	three [3]int
}

// newBarrier makes a barrier that is in none of so many queues.
func newBarrier(queues int) *barrier {
	b := &barrier{}
	b.answers, b.places = b.two[:0], b.three[:0]
	for range queues {
		b.places = append(b.places, -1)
	}
	return b
}

// answer is an event of a branch.
type answer struct {
	branch int
	took   int64 // nanoseconds since the ingress stored it
	event  []byte
}

// queue is a heap of open barriers. That of a branch has the barriers that wait for the branch, on top the one that a watermark passes first. One
// more has all of them, on top the one with the earliest since.
type queue struct {
	branch int
	after  func(*barrier) int64 // by which they are ordered
	all    []*barrier
}

func newestOf(b *barrier) int64 { return b.newest }
func sinceOf(b *barrier) int64  { return b.since }

// less orders barriers by the watermark that they wait for.
func (q *queue) less(a, b *barrier) bool {
	if x, y := q.after(a), q.after(b); x != y {
		return x < y
	}
	return a.number < b.number
}

func (q *queue) put(b *barrier, at int) {
	q.all[at] = b
	b.places[q.branch] = at
}

// push takes a barrier in.
func (q *queue) push(b *barrier) {
	q.all = append(q.all, b)
	q.up(b, len(q.all)-1)
}

// up finds the place of a barrier at one, or above.
func (q *queue) up(b *barrier, at int) {
	for at > 0 {
		above := (at - 1) / 2
		if !q.less(b, q.all[above]) {
			break
		}
		q.put(q.all[above], at)
		at = above
	}
	q.put(b, at)
}

// down finds the place of a barrier at one, or below.
func (q *queue) down(b *barrier, at int) {
	for {
		below := 2*at + 1
		if below >= len(q.all) {
			break
		}
		if right := below + 1; right < len(q.all) && q.less(q.all[right], q.all[below]) {
			below = right
		}
		if !q.less(q.all[below], b) {
			break
		}
		q.put(q.all[below], at)
		at = below
	}
	q.put(b, at)
}

// fix finds the place of a barrier that waits for another watermark now.
func (q *queue) fix(b *barrier) {
	at := b.places[q.branch]
	q.up(b, at)
	if b.places[q.branch] == at {
		q.down(b, at)
	}
}

// remove takes a barrier out, if it is in there.
func (q *queue) remove(b *barrier) {
	at := b.places[q.branch]
	if at < 0 {
		return
	}
	b.places[q.branch] = -1
	last := q.all[len(q.all)-1]
	q.all[len(q.all)-1] = nil
	q.all = q.all[:len(q.all)-1]
	if last != b {
		q.put(last, at)
		q.fix(last)
	}
}

// past takes out the next barrier that a branch has nothing more to say of, whose watermark is until; nil = there is none.
func (q *queue) past(until int64) *barrier {
	if len(q.all) == 0 || q.after(q.all[0]) > until {
		return nil
	}
	first := q.all[0]
	q.remove(first)
	return first
}
