package join

import (
	"encoding/binary"
	"math/bits"

	"millrace.dev/millrace/workers/event"
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
	first    []byte // the event that came first, encoded
	answers  []answer
	answered uint64 // set of branches
	silent   uint64 // set of expected branches that had nothing to say
	bytes    int    // of the answers, each as if it were alone
	// before and after are its neighbours among the open ones.
	before, after *barrier
	places        []int // in each queue; -1 = it is not in there

	// Most barriers have two branches: memory for them.
	two   [2]answer
	three [3]int
}

// newBarrier makes a barrier that is in none of so many queues.
func newBarrier(queues int) *barrier {
	b := &barrier{}
	b.reset(queues)
	return b
}

// reset makes an ended barrier a new one.
func (b *barrier) reset(queues int) {
	clear(b.answers)
	*b = barrier{answers: b.answers[:0], places: b.places[:0]}
	if b.places == nil {
		b.answers, b.places = b.two[:0], b.three[:0]
	}
	for range queues {
		b.places = append(b.places, -1)
	}
}

// answer is an event of a branch: as many bytes of the first answer of its barrier as it shares with that, and the rest. Most branches hand on what both have
// received, and have added little.
type answer struct {
	branch int
	took   int64 // nanoseconds since the ingress stored it
	shared int   // whole fields, in bytes
	rest   []byte
}

func (a *answer) size() int { return a.shared + len(a.rest) }

// event is an answer as it came.
func (b *barrier) event(a *answer) []byte {
	switch {
	case len(a.rest) == 0:
		return b.first[:a.shared:a.shared]
	case a.shared == 0:
		return a.rest
	}
	return append(append(make([]byte, 0, a.size()), b.first[:a.shared]...), a.rest...)
}

// events are all answers.
func (b *barrier) events() [][]byte {
	all := make([][]byte, 0, len(b.answers))
	for i := range b.answers {
		all = append(all, b.event(&b.answers[i]))
	}
	return all
}

// add adds an answer: an event that shares so many bytes with the first one. The barrier keeps no part of the event.
func (b *barrier) add(branch int, took int64, event []byte, shared int) {
	if len(b.answers) == 0 {
		b.first = append(make([]byte, 0, len(event)+spare), event...)
		shared = len(event)
	}
	a := answer{branch: branch, took: took, shared: shared}
	if shared < len(event) {
		a.rest = append(make([]byte, 0, len(event)-shared), event[shared:]...)
	}
	b.answers = append(b.answers, a)
	b.bytes += len(event)
}

// shared is how many bytes an encoded event has in common with a whole one: whole fields, from the first one on.
func shared(whole, other []byte) int {
	n := common(whole, other)
	if n == len(whole) {
		return n
	}
	for at := 0; ; {
		_, _, _, next := event.Field(whole, at)
		if next == 0 || next > n {
			return at
		}
		at = next
	}
}

// common is how many bytes two texts have in common, from the first one on.
func common(a, b []byte) int {
	const word = 8
	n := min(len(a), len(b))
	i := 0
	for ; i+word <= n; i += word {
		if differ := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); differ != 0 {
			return i + bits.TrailingZeros64(differ)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// line is barriers in a row.
type line struct{ first, last *barrier }

// push puts a barrier last.
func (l *line) push(b *barrier) {
	if b.before = l.last; l.last == nil {
		l.first = b
	} else {
		l.last.after = b
	}
	l.last = b
}

// remove takes a barrier out that is in the line.
func (l *line) remove(b *barrier) {
	if b.before == nil {
		l.first = b.after
	} else {
		b.before.after = b.after
	}
	if b.after == nil {
		l.last = b.before
	} else {
		b.after.before = b.before
	}
	b.before, b.after = nil, nil
}

// queue is a heap of open barriers. That of a branch has the barriers that wait for the branch, on top the one that a watermark passes first. One
// more has all of them, on top the one with the earliest since.
type queue struct {
	branch int
	after  func(*barrier) int64 // by which they are ordered
	all    []waiting
}

// waiting is a barrier in a queue, with what it is ordered by.
type waiting struct {
	until  int64 // a watermark
	number uint64
	*barrier
}

func (q *queue) waits(b *barrier) waiting {
	return waiting{until: q.after(b), number: b.number, barrier: b}
}

func newestOf(b *barrier) int64 { return b.newest }
func sinceOf(b *barrier) int64  { return b.since }

// less orders barriers by the watermark that they wait for.
func less(a, b *waiting) bool {
	return a.until < b.until || a.until == b.until && a.number < b.number
}

func (q *queue) put(w waiting, at int) {
	q.all[at] = w
	w.places[q.branch] = at
}

// push takes a barrier in.
func (q *queue) push(b *barrier) {
	w := q.waits(b)
	q.all = append(q.all, w)
	q.up(w, len(q.all)-1)
}

// up finds the place of a barrier at one, or above.
func (q *queue) up(w waiting, at int) {
	for at > 0 {
		above := (at - 1) / 2
		if !less(&w, &q.all[above]) {
			break
		}
		q.put(q.all[above], at)
		at = above
	}
	q.put(w, at)
}

// down finds the place of a barrier at one, or below.
func (q *queue) down(w waiting, at int) {
	for {
		below := 2*at + 1
		if below >= len(q.all) {
			break
		}
		if right := below + 1; right < len(q.all) && less(&q.all[right], &q.all[below]) {
			below = right
		}
		if !less(&q.all[below], &w) {
			break
		}
		q.put(q.all[below], at)
		at = below
	}
	q.put(w, at)
}

// fix finds the place of a barrier that waits for another watermark now.
func (q *queue) fix(b *barrier) {
	q.moved(q.waits(b), b.places[q.branch])
}

// moved finds the place of a barrier from one on.
func (q *queue) moved(w waiting, at int) {
	q.up(w, at)
	if w.places[q.branch] == at {
		q.down(w, at)
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
	q.all[len(q.all)-1] = waiting{}
	q.all = q.all[:len(q.all)-1]
	if last.barrier != b {
		q.moved(last, at)
	}
}

// past takes out the next barrier that a branch has nothing more to say of, whose watermark is until; nil = there is none.
func (q *queue) past(until int64) *barrier {
	if len(q.all) == 0 || q.all[0].until > until {
		return nil
	}
	first := q.all[0].barrier
	q.remove(first)
	return first
}
