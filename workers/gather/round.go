package gather

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
)

// round is a batch with what came for its events. It ends when all its requests are closed.
type round struct {
	rules   rules
	batch   *stage.Batch
	lists   bool   // requests are lists of events
	replay  bool   // its events were sent aside before
	id      uint64 // of a round whose replies come by token
	now     func() time.Time
	metrics *metrics
	done    func(error)

	// Those below are set before the round may end, by a target that is alone in the round; nil = there is nothing to do.

	// free is called once for each request that was sent, when it has its first reply or is closed.
	free func()
	// came is called once for each request that was sent, with what came of it: with its first reply that shows that a responder works, when it is closed without
	// one, or when the round ends before.
	came func(q *request, how outcome)
	// lost says why replies may never come, whatever responders do.
	lost func() error
	// over is called when the round has ended.
	over func()
	// closed says whether all breakers are; nil = events are not sent aside while one is not.
	closed func() bool

	mu       sync.Mutex
	requests []request
	events   []found
	signs    []sign       // of each target
	count    atomic.Int64 // of requests
	waiting  int          // requests that are open
	ended    bool
	rest     error // why events of requests that are open are to be asked about again

	unwatch func() bool
	last    *time.Timer // of cut
	timer   *time.Timer
	armed   bool
	sent    int // requests before it were sent, or are closed
	expired int // requests before it are closed
}

// outcome is what came of a request.
type outcome uint8

const (
	good    outcome = iota // a reply that shows that the responder works
	bad                    // an error, or nothing
	unknown                // nobody waits any more
)

// request asks about the events from..to-1.
type request struct {
	from, to int
	targets  int // that have not said all that they will
	lacking  int // events with too few answers
	replies  int // of any kind
	sent     time.Time
	held     bool
	judged   bool // its outcome is known
	closed   bool
	who      []string // has replied, of those who say their name
}

// found is what came for one event.
type found struct {
	answers []answer
	// refused is why the event is at fault, failed why there are not more answers.
	refused, failed *failure
	// unfit says that it is in no request, open that a breaker did not let one through.
	unfit, open bool
}

// failure is a reason for dead letters and marks, with its text.
type failure struct {
	reason string
	err    error
}

// sign is the last that a target has given.
type sign struct {
	last   time.Time
	silent bool
}

func newRound(by rules, b *stage.Batch, size, targets int, now func() time.Time, m *metrics, done func(error)) *round {
	n := len(b.Events)
	r := &round{
		rules: by, batch: b, lists: size > 1, replay: b.Replayed, now: now, metrics: m, done: done, events: make([]found, n), signs: make([]sign, targets),
		requests: make([]request, 0, (n+size-1)/size),
	}
	for from := 0; from < n; from += size {
		r.add(from, min(from+size, n), targets)
	}
	return r
}

func (r *round) add(from, to, targets int) {
	r.requests = append(r.requests, request{from: from, to: to, targets: targets, lacking: to - from})
	r.count.Add(1)
	r.waiting++
}

// size is how many requests there are. It may grow until the last one was sent. It takes no lock: a queue asks for it, and is told while the round is locked.
func (r *round) size() int { return int(r.count.Load()) }

// reserve is how long before the deadline of a call it sends no other request, and decides.
const reserve = 10 * time.Second

// watch ends the round when ctx ends, or before its deadline.
func (r *round) watch(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		left = deadline.Sub(r.now())
		r.last = time.AfterFunc(left-min(reserve, left/2), func() { r.cut(left) })
	}
	r.unwatch = context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.cut(left)
		}
		r.end(stage.Unavailable(fmt.Errorf("responders were waited for until the call ended: %w", context.Cause(ctx))))
	})
}

// cut ends the round shortly before its deadline, or at it: the events whose requests are closed are decided about, so that each call comes
// further. A round that has none goes on.
func (r *round) cut(deadline time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	closed := len(r.requests) - r.waiting
	if r.ended || closed == 0 {
		return
	}
	r.rest = stage.Unavailable(fmt.Errorf("responders are slow: %d of %d requests have what they need, and a call ends after %s; the next one goes on",
		closed, len(r.requests), deadline.Round(time.Millisecond)))
	r.finish(nil)
}

// take is the body of request i, for a target that sends it now, if its breaker allows; it has limit bytes at most, 0 = any number. ok is false when
// the request is not to be sent.
func (r *round) take(i, target int, limit int64, gate *breaker.Breaker) (body []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.requests[i].closed {
		return nil, false
	}
	if r.signs[target].silent {
		r.metrics.unasked.Inc()
		r.miss(i, failure{resultTimeout, fmt.Errorf("not asked: there was no reply within %s to the requests before", r.rules.timeout)})
		return nil, false
	}
	if r.closed != nil {
		if err := gate.Refuses(1, r.replay); err != nil {
			r.miss(i, failure{reasonOpen, err})
			return nil, false
		}
	}
	if body = r.encode(i, limit); body == nil {
		r.close(i)
		return nil, false
	}
	if err := gate.Allow(); err != nil {
		r.miss(i, failure{reasonOpen, err})
		return nil, false
	}
	q := &r.requests[i]
	if q.sent.IsZero() {
		q.sent = r.now()
		r.metrics.open.Inc()
	}
	q.held = r.free != nil
	r.sent = i + 1
	r.metrics.requests.Inc()
	return body, true
}

// expire has requests that were sent be closed by their timeout. A target does without that has a deadline for each.
func (r *round) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.armed && !r.ended {
		r.arm(r.rules.timeout)
	}
}

func (r *round) arm(after time.Duration) {
	r.armed = true
	if r.timer == nil {
		r.timer = time.AfterFunc(after, r.sweep)
		return
	}
	r.timer.Reset(after)
}

// minSweep is the least time between two sweeps of a round.
const minSweep = time.Millisecond

// sweep closes requests whose timeout is over: those that were sent first.
func (r *round) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = false
	for now := r.now(); r.expired < r.sent && !r.ended; r.expired++ {
		q := &r.requests[r.expired]
		if q.closed {
			continue
		}
		if left := q.sent.Add(r.rules.timeout).Sub(now); left > 0 {
			r.arm(max(left, minSweep))
			return
		}
		if r.lost != nil {
			if err := r.lost(); err != nil {
				r.finish(stage.Unavailable(err))
				return
			}
		}
		r.timedOut(r.expired, 0, q.sent)
	}
}

// lapsed is timedOut for a target that has a deadline for each request.
func (r *round) lapsed(i, target int, sent time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && !r.requests[i].closed {
		r.timedOut(i, target, sent)
	}
}

// timedOut notes that a target has not replied in time to a request that it was sent.
func (r *round) timedOut(i, target int, sent time.Time) {
	r.metrics.reply(resultTimeout)
	if s := &r.signs[target]; !sent.Before(s.last) {
		s.silent = true
	}
	r.miss(i, r.noReply())
}

// noReply is why an event has no answer that nobody has said anything of.
func (r *round) noReply() failure {
	return failure{resultTimeout, fmt.Errorf("no reply within %s", r.rules.timeout)}
}

// missed notes that a target says no more to request i, and why.
func (r *round) missed(i int, why failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && !r.requests[i].closed {
		r.metrics.reply(why.reason)
		r.miss(i, why)
	}
}

func (r *round) miss(i int, why failure) {
	q := &r.requests[i]
	q.targets--
	for e := q.from; e < q.to; e++ {
		f := &r.events[e]
		f.open = f.open || why.reason == reasonOpen
		if f.failed == nil {
			f.failed = &why
		}
	}
	r.judge(i)
}

// asked is how many events request i is about; 0 = there is no such request.
func (r *round) asked(i int) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 || i >= len(r.requests) {
		return 0
	}
	for e := r.requests[i].from; e < r.requests[i].to; e++ {
		if !r.events[e].unfit {
			n++
		}
	}
	return n
}

// replied takes a reply to request i. last says that the target says no more.
func (r *round) replied(i, target int, said reply, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := &r.requests[i]
	if r.ended || q.closed {
		r.metrics.reply(resultLate)
		return
	}
	now := r.now()
	r.signs[target] = sign{last: now}
	if said.works() {
		r.tell(q, good)
	}
	r.release(q)
	if q.replies == 0 {
		r.metrics.seconds.Observe(now.Sub(q.sent).Seconds())
	}
	if last {
		q.targets--
	}
	if said.who != "" && slices.Contains(q.who, said.who) {
		r.metrics.reply(resultDuplicate)
		r.judge(i)
		return
	}
	if said.who != "" {
		q.who = append(q.who, said.who)
	}
	q.replies++
	r.metrics.reply(said.result)
	r.collect(q, &said)
	r.judge(i)
}

// collect notes what a reply says of each event of a request.
func (r *round) collect(q *request, said *reply) {
	n := 0
	for e := q.from; e < q.to; e++ {
		f := &r.events[e]
		if f.unfit {
			continue
		}
		it := said.of(n)
		n++
		switch {
		case it.failure == nil:
			if f.answers = append(f.answers, it.answer); len(f.answers) == r.rules.needed() {
				q.lacking--
			}
		case it.failure.reason == resultRefused:
			f.refused = it.failure
		default:
			f.failed = it.failure
		}
	}
}

// judge closes request i when it has all that is waited for.
func (r *round) judge(i int) {
	q := &r.requests[i]
	if q.targets == 0 || r.rules.quorum > 0 && q.lacking == 0 || r.rules.max > 0 && q.replies >= r.rules.max {
		r.close(i)
	}
}

func (r *round) close(i int) {
	q := &r.requests[i]
	q.closed = true
	if !q.sent.IsZero() {
		r.metrics.open.Dec()
	}
	r.tell(q, bad)
	r.release(q)
	if r.waiting--; r.waiting == 0 {
		r.finish(nil)
	}
}

// tell says what came of a request, once.
func (r *round) tell(q *request, how outcome) {
	if r.came != nil && !q.sent.IsZero() && !q.judged {
		q.judged = true
		r.came(q, how)
	}
}

func (r *round) release(q *request) {
	if q.held {
		q.held = false
		r.free()
	}
}

// end ends the round, whatever is open.
func (r *round) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(err)
}

// finish decides about the events, unless there is an error, and hands the batch back. From then on nobody else touches it.
func (r *round) finish(err error) {
	if r.ended {
		return
	}
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.last != nil {
		r.last.Stop()
	}
	for i := range r.requests {
		if q := &r.requests[i]; !q.closed {
			if !q.sent.IsZero() {
				r.metrics.open.Dec()
			}
			r.tell(q, unknown)
			r.release(q)
		}
	}
	go func() { // who sends or receives goes on
		if r.unwatch != nil {
			r.unwatch()
		}
		if r.over != nil {
			r.over()
		}
		if err == nil {
			r.decide()
		}
		r.done(err)
	}()
}
