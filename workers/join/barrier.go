package join

import (
	"container/heap"
	"container/list"
)

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

// Len is part of heap.Interface.
func (q *queue) Len() int { return len(q.all) }

// Less orders barriers by the watermark that they wait for.
func (q *queue) Less(i, k int) bool {
	a, b := q.all[i], q.all[k]
	if x, y := q.after(a), q.after(b); x != y {
		return x < y
	}
	return a.number < b.number
}

// Swap is part of heap.Interface.
func (q *queue) Swap(i, k int) {
	q.all[i], q.all[k] = q.all[k], q.all[i]
	q.all[i].places[q.branch], q.all[k].places[q.branch] = i, k
}

// Push is part of heap.Interface.
func (q *queue) Push(x any) {
	b := x.(*barrier) //nolint:forcetypeassert // only barriers are pushed
	b.places[q.branch] = len(q.all)
	q.all = append(q.all, b)
}

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	last := len(q.all) - 1
	b := q.all[last]
	q.all[last] = nil
	q.all = q.all[:last]
	b.places[q.branch] = -1
	return b
}

// remove takes a barrier out, if it is in there.
func (q *queue) remove(b *barrier) {
	if at := b.places[q.branch]; at >= 0 {
		heap.Remove(q, at)
	}
}

// past takes out the next barrier that a branch has nothing more to say of, whose watermark is until; nil = there is none.
func (q *queue) past(until int64) *barrier {
	if len(q.all) == 0 || q.after(q.all[0]) > until {
		return nil
	}
	return heap.Pop(q).(*barrier) //nolint:forcetypeassert // only barriers are pushed
}
