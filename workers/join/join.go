package join

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

// The reasons of dead letters.
const (
	reasonNoKey   = "missing_key"
	reasonInvalid = "invalid_event"
	reasonLate    = "join_late"
	reasonError   = "rule_error"
	reasonTimeout = "join_timeout"
)

var (
	errNoKey   = errors.New("the event has no key: without an id it belongs to no barrier")
	errLate    = errors.New("the barrier of this key has ended before this branch answered")
	errLarge   = fmt.Errorf("the barrier of this key has ended: with this answer it would hold more than %d bytes", maxAnswers)
	errTimeout = errors.New("not all branches have answered before the deadline")
)

// maxAnswers bounds the answers of a barrier together, in encoded bytes; an answer alone may be larger. As a list of CloudEvents they take more, and fit
// into the usual max_payload (1 MiB) all the same.
const maxAnswers = 384 << 10

// join is the barriers of one lane.
type join struct {
	settings
	key     *cel.Expression[string] // nil = source and id
	types   [2]cel.Condition        // of pairs
	metrics *metrics
	format  state.Format
	all     string   // the branches, with commas between
	tookOf  []string // the attribute of each that says how long it took
	whole   *event.Checker
	merger  merger
	// Scratch: a key, an event, and barriers that have ended.
	keyed   []byte
	encoded []byte
	spare   []*barrier
	// endingText are the attributes that tell of lastEnding.
	lastEnding ending
	endingText []byte

	open  map[string]*barrier
	order line // of open ones, as they opened
	// waiting are the barriers that wait for each branch, until is the watermark of each, Unix nanoseconds.
	waiting []queue
	until   []int64
	held    *queue // all that are open
	// ended are keys whose barriers did not wait for all branches, with when they are forgotten; forget are these in that order.
	ended  map[string]int64
	forget []string

	number uint64
	// bytes is the size of all answers and keys, remembered that of the keys of ended among it.
	bytes, remembered int
	done              []*barrier // complete, and not yet emitted
}

// Start has nothing to wait for.
func (*join) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*join) Shutdown(context.Context) error { return nil }

// Horizon is how far back the state reaches: see the package.
func (j *join) Horizon() time.Duration { return j.horizon }

// Process has each event answer for its branch.
func (j *join) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		branch, err := j.branchOf(e)
		switch {
		case err != nil:
			b.DeadLetter(i, reasonError, err)
			continue
		case branch < 0:
			b.Filter(i)
			continue
		}
		key, err := j.keyOf(e)
		if err != nil {
			b.DeadLetter(i, reasonNoKey, err)
			continue
		}
		at := j.open[string(key)]
		j.encoded = e.AppendProto(j.encoded[:0])
		known := 0 // to be whole
		if at != nil && j.merges() {
			known = shared(at.first, j.encoded)
		}
		if err := j.whole.Check(j.encoded[known:]); err != nil {
			b.DeadLetter(i, reasonInvalid, err)
			continue
		}
		if _, late := j.ended[string(key)]; late {
			j.metrics.late.Inc()
			b.DeadLetter(i, reasonLate, errLate)
			continue
		}
		if at != nil && at.bytes+len(j.encoded) > maxAnswers {
			j.early(b, at, evicted)
			if !j.pairs {
				j.metrics.late.Inc()
				b.DeadLetter(i, reasonLate, errLarge)
				continue
			}
			at, known = nil, 0
		}
		j.answer(at, key, branch, e, known, b)
		b.Filter(i)
	}
	return nil
}

// branchOf is the branch that an event answers for, or which one of a pair it is; -1 = it is of no pair.
func (j *join) branchOf(e *event.Event) (int, error) {
	if !j.pairs {
		return e.Origin.Input, nil
	}
	for branch := range j.types {
		if holds, err := j.types[branch].Holds(e); err != nil || holds {
			return branch, err
		}
	}
	return -1, nil
}

// keyOf is the key of an event, until the next one is asked for.
func (j *join) keyOf(e *event.Event) ([]byte, error) {
	j.keyed = j.keyed[:0]
	if j.key == nil {
		if e.ID == "" {
			return nil, errNoKey
		}
		j.keyed = append(append(append(j.keyed, e.Source...), 0), e.ID...)
		return j.keyed, nil
	}
	key, err := j.key.Of(e)
	if err == nil && key == "" {
		err = errNoKey
	}
	j.keyed = append(j.keyed, key...)
	return j.keyed, err
}

// merges says whether results are made of what the answers are not in common.
func (j *join) merges() bool { return !j.pairs && j.merge != config.JoinCollect }

// answer adds the event that is encoded to its barrier, which opens with the first one (nil).
func (j *join) answer(at *barrier, key []byte, branch int, e *event.Event, known int, b *stage.Batch) {
	behind := j.until[e.Origin.Input]
	newest := int64(math.MaxInt64)      // unknown: no watermark is past it
	if !b.Newest.IsZero() && !j.pairs { // the other one of a pair is of another message
		newest = b.Newest.UnixNano()
	}
	if at == nil {
		at = j.begin(string(key), branch, b.Now.UnixNano(), behind, newest)
	} else {
		if behind < at.since {
			at.since = behind
			j.held.fix(at)
		}
		at.answered |= 1 << branch
		j.waiting[branch].remove(at)
		j.later(at, newest)
	}
	at.add(branch, max(0, b.Now.UnixNano()-e.IngestTime), j.encoded, known)
	j.bytes += len(j.encoded)
	j.complete(at)
}

// begin opens a barrier that one branch has answered.
func (j *join) begin(key string, branch int, now, since, newest int64) *barrier {
	j.number++
	b := j.barrierFor()
	b.key, b.number, b.opened, b.since, b.newest, b.answered = key, j.number, now, since, newest, 1<<branch
	for wait := j.expected &^ b.answered; wait != 0; wait &= wait - 1 {
		j.waiting[bits.TrailingZeros64(wait)].push(b)
	}
	j.held.push(b)
	j.open[key] = b
	j.order.push(b)
	j.bytes += len(key)
	return b
}

// maxSpare is how many ended barriers are kept for the next ones.
const maxSpare = 1024

// barrierFor is memory for a barrier.
func (j *join) barrierFor() *barrier {
	last := len(j.spare) - 1
	if last < 0 {
		return newBarrier(len(j.waiting))
	}
	b := j.spare[last]
	j.spare[last] = nil
	j.spare = j.spare[:last]
	return b
}

// later notes that an event of a barrier may be as late as newest.
func (j *join) later(b *barrier, newest int64) {
	if newest <= b.newest {
		return
	}
	b.newest = newest
	for i := range j.branches {
		switch {
		case b.places[i] >= 0:
			j.waiting[i].fix(b)
		case b.silent&^b.answered&(1<<i) != 0: // it was past what had come until then
			b.silent &^= 1 << i
			j.waiting[i].push(b)
		}
	}
}

// complete ends a barrier that waits for nobody any more.
func (j *join) complete(b *barrier) {
	if j.expected&^(b.answered|b.silent) == 0 && j.open[b.key] == b {
		j.end(b)
		j.done = append(j.done, b)
	}
}

// end takes a barrier out of the state.
func (j *join) end(b *barrier) {
	delete(j.open, b.key)
	j.order.remove(b)
	j.bytes -= len(b.key) + b.bytes
	for i := range j.waiting {
		j.waiting[i].remove(b)
	}
}

// Watermark completes the barriers that wait for a branch that is past them, and emits all that are complete.
func (j *join) Watermark(_ context.Context, input int, until time.Time, b *stage.Batch) (time.Time, error) {
	if !until.IsZero() {
		j.until[input] = max(j.until[input], until.UnixNano())
	}
	if !j.pairs {
		j.pass()
	}
	for _, at := range j.done {
		why := complete
		if at.silent&^at.answered != 0 {
			why = silent
		}
		j.emit(b, at, why)
	}
	clear(j.done)
	j.done = j.done[:0]
	j.makeRoom(b)
	if len(j.held.all) == 0 {
		return time.Time{}, nil
	}
	return time.Unix(0, j.held.all[0].since), nil
}

// pass has the barriers wait no more for branches that are past them: that of the last message, and others where a barrier has just opened.
func (j *join) pass() {
	for branch := range j.branches {
		q := &j.waiting[branch]
		for at := q.past(j.until[branch]); at != nil; at = q.past(j.until[branch]) {
			at.silent |= 1 << branch
			j.complete(at)
		}
	}
}

// makeRoom keeps to the bounds. Keys of barriers that have ended give way only where they take more than half of the room: who answers to one that is
// forgotten opens another barrier, which takes room as well.
func (j *join) makeRoom(b *stage.Batch) {
	for len(j.open) > j.maxPending || j.bytes > j.maxBytes {
		if len(j.open) <= j.maxPending && j.remembered > j.maxBytes/2 {
			j.forgetOne()
		} else {
			j.early(b, j.oldest(), evicted)
		}
	}
}

// Flush ends the barriers that have waited too long; all of them at the end.
func (j *join) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	for {
		at := j.oldest()
		if at == nil || !final && at.opened+int64(j.deadline) > now.UnixNano() {
			break
		}
		why := timeout
		if j.pairs {
			why = unmatched
		}
		j.early(b, at, why)
	}
	for len(j.forget) > 0 && (final || j.ended[j.forget[0]] <= now.UnixNano()) {
		j.forgetOne()
	}
	return nil
}

// oldest is the open barrier that opened first; nil = there is none.
func (j *join) oldest() *barrier { return j.order.first }

// early ends a barrier that waits for somebody, and remembers that for a deadline: what comes of it is late.
func (j *join) early(b *stage.Batch, at *barrier, why outcome) {
	j.end(at)
	if j.pairs { // a later one of the key is of another pair
		j.emit(b, at, why)
		return
	}
	for len(j.forget) >= j.maxPending {
		j.forgetOne()
	}
	j.ended[at.key] = b.Now.UnixNano() + int64(j.deadline)
	j.forget = append(j.forget, at.key)
	j.remember(at.key)
	j.emit(b, at, why)
}

// remember counts the key of a barrier that has ended.
func (j *join) remember(key string) {
	j.bytes += len(key)
	j.remembered += len(key)
}

func (j *join) forgetOne() {
	key := j.forget[0]
	j.bytes -= len(key)
	j.remembered -= len(key)
	delete(j.ended, key)
	j.forget[0] = ""
	j.forget = j.forget[1:]
}

// emit makes the result of a barrier, which is of no use from then on.
func (j *join) emit(b *stage.Batch, at *barrier, why outcome) {
	j.metrics.ended(why)
	at.inOrder()
	if (why == timeout || why == unmatched) && j.onTime == config.JoinDeadLetter {
		b.ProduceDeadLetter(j.result(at, why), reasonTimeout, errTimeout)
	} else if encoded, ok := j.encodedResult(at, why); ok {
		b.ProduceEncoded(stage.NoParent, stage.Out, encoded)
	} else {
		b.Produce(stage.NoParent, stage.Out, j.result(at, why))
	}
	if len(j.spare) < maxSpare {
		at.reset(len(j.waiting))
		j.spare = append(j.spare, at)
	}
}

// names are the names of a set of branches, with commas between.
func (j *join) names(set uint64) string {
	if set == 1<<len(j.branches)-1 {
		return j.all
	}
	var names []string
	for ; set != 0; set &= set - 1 {
		names = append(names, j.branches[bits.TrailingZeros64(set)])
	}
	return strings.Join(names, ",")
}
