package engine

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// Reasons of dead letters that the engine gives itself.
const (
	reasonUndecodable      = "undecodable"
	reasonPanic            = "panic"
	reasonPermanent        = "permanent_error"
	reasonRetriesExhausted = "retries_exhausted"
	reasonTooLarge         = "too_large"
	reasonUnknownPort      = "unknown_port"
)

// scratch is the memory of one node in one lane.
type scratch struct {
	batch     stage.Batch
	now       time.Time // of the events
	partition int       // of their message
	late      int64     // events that came too late
	decisions []stage.Decision
	tried     []int // attempts, where there was more than one
	made      []event.Event
	copies    copies // where no hand has them (lane.copies)
	picked    []event.Event
	produced  []stage.Produced
}

// take takes the messages of s through the stages. It returns false when the work ended
// before that was done: then nothing of s may be stored.
func (l *lane) take(ctx context.Context, s *step) bool {
	together := !l.perMessage && s.frames == 0
	var ahead *ahead
	if l.second != nil && !together && len(s.messages) > 1 {
		ahead = l.decodeAhead(ctx, s)
		defer ahead.end()
	}
	for k := 0; k < len(s.messages); {
		if l.stopped() { // another worker goes on with the rest
			clear(s.messages[k:])
			s.messages = s.messages[:k]
			break
		}
		if together {
			if n, ok := l.takeTogether(ctx, s, k); !ok {
				return false
			} else if n > 0 {
				k += n
				continue
			}
		}
		if !l.takeMessage(ctx, s, k, ahead) {
			return false
		}
		k++
	}
	return true
}

// Loose messages are decoded and processed at once, up to this many of them, until they have taken up this much
// memory (a small message may hold many events), and as far as they were stored within this time: the stages see
// the time of the first one.
const (
	looseBatch = 256
	looseBytes = 4 << 20
	looseSpan  = int64(100 * time.Millisecond)
)

// takeTogether takes loose messages from k on through stateless stages at once, up to the first one that
// holds something undecodable: that one is taken alone. It returns how many it took.
func (l *lane) takeTogether(ctx context.Context, s *step, k int) (n int, ok bool) {
	if !l.begun(ctx) {
		return 0, false
	}
	n = min(len(s.messages)-k, looseBatch)
	sc := &scene{
		s: s, messages: s.messages, m: s.messages[k], k: k, first: k, in: s.messages[k].in.index,
		now: time.Unix(0, s.messages[k].stored), partition: noPartition,
	}
	measures, side := len(s.measures), l.doubt.Side(sc.in, sc.m.seq)
	for i, m := range s.messages[k : k+n] {
		if i > 0 && (l.hand.held() > looseBytes || l.doubt.Side(m.in.index, m.seq) != side || m.stored-sc.m.stored > looseSpan || m.stored < sc.m.stored) {
			n = i
			break
		}
		events := len(l.hand.events)
		if bad := l.decode(s, m); len(bad) > 0 {
			// Those before it are decoded: to throw them away would have each bad message cost many good ones.
			n, l.hand.events, s.measures = i, l.hand.events[:events], s.measures[:measures+i]
			break
		}
	}
	for _, m := range s.messages[k : k+n] {
		l.last[m.in.index] = m.seq
	}
	return n, (len(l.hand.events) == 0 || l.node(ctx, sc, l.e.nodes[0], l.hand.events)) && l.release(ctx, sc)
}

// takeMessage takes one message through the stages. It is decoded already when ahead is not nil.
func (l *lane) takeMessage(ctx context.Context, s *step, k int, ahead *ahead) bool {
	m := s.messages[k]
	if !l.flushUntil(ctx, s, m.stored/int64(time.Second)) {
		return false
	}
	if m.only != nil && len(m.only) == 0 { // in a replay
		l.last[m.in.index] = m.seq
		return true
	}
	sc := &scene{
		s: s, messages: s.messages, m: m, k: k, first: k, in: m.in.index, now: time.Unix(0, m.stored),
		at: progress.Position{Seq: m.seq}, replayed: l.replaying, partition: m.partition(l.e.cfg.Partitions),
	}
	if ahead != nil {
		d, ok := <-ahead.out
		if !ok {
			return false
		}
		l.hand, sc.bad = d.hand, d.bad
		s.measures = append(s.measures, d.measure)
	} else {
		if !l.begun(ctx) {
			return false
		}
		sc.bad = l.decode(s, m)
	}
	s.tallies[0].events += int64(len(sc.bad))
	if len(l.hand.events) > 0 && !l.node(ctx, sc, l.e.nodes[0], l.hand.events) {
		return false
	}
	l.buryUndecodable(sc, math.MaxInt)
	l.last[m.in.index] = m.seq
	return l.release(ctx, sc)
}

// decode decodes m behind the events in hand.
func (l *lane) decode(s *step, m *message) (bad []event.Undecodable) {
	bad, known := l.hand.decode(m)
	s.measures = append(s.measures, known)
	return bad
}

// buryUndecodable dead-letters what is no event and stands before index in the message.
func (l *lane) buryUndecodable(sc *scene, index int) {
	for len(sc.bad) > 0 && sc.bad[0].Index < index {
		u := &sc.bad[0]
		sc.bad = sc.bad[1:]
		sc.at, sc.made = progress.Position{Seq: sc.m.seq, Index: uint32(u.Index)}, 0
		if l.storedBefore(sc, l.e.nodes[0], new(*track)) {
			sc.s.tallies[0].deadLettered++
			continue
		}
		l.bury(sc, l.e.nodes[0], letter{index: u.Index, body: bytes.Clone(u.Raw), contentType: u.ContentType, reason: reasonUndecodable, err: u.Err, attempts: 1})
	}
}

// node takes events through one stage and what is chained to it.
func (l *lane) node(ctx context.Context, sc *scene, n *node, events []event.Event) bool {
	sr := &l.scratch[n.index]
	sr.decisions = grow(sr.decisions, len(events))
	sr.tried, sr.made, sr.picked = emptied(sr.tried), emptied(sr.made), emptied(sr.picked)
	sr.produced, sr.now, sr.partition, sr.late = emptied(sr.produced), sc.now, sc.partition, 0
	sc.s.tallies[n.index].events += int64(len(events))
	sc.s.trace.enter(l, n, events)
	size := n.limits.maxEvents
	if n.stateful && len(events) > 0 && l.suspects.isAlone(&events[0]) {
		size = 1
	}
	for lo := 0; lo < len(events); lo += size {
		hi := min(lo+size, len(events))
		if l.decide(ctx, n, events[lo:hi], sr.decisions[lo:hi], 1); l.broken.Load() {
			return false
		}
	}
	if !l.retry(ctx, sc, n, events) {
		return false
	}
	sc.s.trace.leave(l, n)
	sc.s.tallies[n.index].late += sr.late
	kept := l.route(sc, n, events)
	l.produce(sc, n, sr.produced)
	return l.children(ctx, sc, n, kept)
}

// children hands what left on port out to the chained stages.
func (l *lane) children(ctx context.Context, sc *scene, n *node, kept []event.Event) bool {
	if len(n.children) == 0 {
		return true
	}
	made := l.scratch[n.index].made
	if len(made) > 0 {
		kept = append(kept[:len(kept):len(kept)], made...)
	}
	if len(kept) == 0 {
		return true
	}
	for i, c := range n.children {
		given := kept
		if i < len(n.children)-1 { // children may change events, so each but the last gets its own copy
			forks := &l.copies(n, c).forks
			given = emptied(*forks)
			for j := range kept {
				given = append(given, kept[j].Fork())
			}
			*forks = given
		}
		if c.depth == l.e.cut && l.second != nil {
			if !l.then(ctx, sc, func(sc *scene) bool { return l.node(ctx, sc, c, given) }) {
				return false
			}
		} else if !l.node(ctx, sc, c, given) {
			return false
		}
	}
	return true
}

// route does with each event what was decided, and returns those that left on port out.
func (l *lane) route(sc *scene, n *node, events []event.Event) []event.Event {
	sr := &l.scratch[n.index]
	all := true
	kept := &l.copies(n, n).kept
	next := emptied(*kept)
	if sc.m != nil {
		sc.k = sc.first
		sc.m = sc.messages[sc.k]
		sc.in = sc.m.in.index
	}
	for i := range events {
		e, d := &events[i], &sr.decisions[i]
		if len(sc.bad) > 0 && n.depth == 0 {
			l.buryUndecodable(sc, e.Origin.Index)
		}
		l.moveTo(sc, e)
		var out bool
		switch where, t := l.went(sc, n); where {
		case progress.Stored:
			out = l.repeated(sc, n, t)
		case progress.Behind: // it may lack on the port itself
			out = l.emit(sc, n, e, config.PortOut)
		default:
			out = l.decided(sc, n, e, d, sr.attempts(i))
		}
		if len(n.children) == 0 {
			continue
		}
		if !out && all { // the first one that is left out
			all = false
			next = append(next, events[:i]...)
		} else if out && !all {
			next = append(next, *e)
		}
	}
	*kept = next
	if all {
		return events
	}
	return next
}

// decided does with an event what was decided, and says whether it left on port out.
func (l *lane) decided(sc *scene, n *node, e *event.Event, d *stage.Decision, attempts int) (out bool) {
	t := &sc.s.tallies[n.index]
	switch d.Verdict {
	case stage.Emit:
		return l.emit(sc, n, e, d.Port)
	case stage.Filter:
		t.filtered++
	case stage.Duplicate:
		t.duplicates++
	case stage.DeadLetter, stage.Retry:
		l.deadLetter(sc, n, e, d.Reason, d.Err, attempts)
	}
	return false
}

// repeated counts an event that was stored on t when its step was tried before, whatever was decided now, and says
// whether it left on port out.
func (l *lane) repeated(sc *scene, n *node, t *track) (out bool) {
	tl := &sc.s.tallies[n.index]
	if t.port.name == config.PortDeadLetter {
		tl.deadLettered++
		return false
	}
	tl.emitted++
	if out = t.port.name == config.PortOut; out {
		tl.out++
	}
	return out
}

// moveTo moves the scene to where e came from.
func (l *lane) moveTo(sc *scene, e *event.Event) {
	if sc.m == nil { // a flush: e was made by it
		sc.at.Index, sc.made = uint32(e.Origin.Index), e.Origin.Made
		return
	}
	for sc.m.seq != e.Origin.Sequence || sc.in != e.Origin.Input {
		sc.k++
		sc.m = sc.messages[sc.k]
		sc.in = sc.m.in.index
	}
	sc.at, sc.made = progress.Position{Seq: sc.m.seq, Index: uint32(e.Origin.Index)}, e.Origin.Made
}

func (sr *scratch) attempts(i int) int {
	if i < len(sr.tried) {
		return max(sr.tried[i], 1)
	}
	return 1
}

// decide has the stage decide about events. When it fails on several at once they are
// processed one by one, to find the one to blame. When a stage with state panics, the lane begins anew first (broken).
func (l *lane) decide(ctx context.Context, n *node, events []event.Event, decisions []stage.Decision, attempt int) {
	sr := &l.scratch[n.index]
	if len(events) == 1 {
		if err := l.suspects.poisoned(n.index, &events[0]); err != nil {
			decisions[0] = blame(err)
			return
		}
	}
	err := l.call(ctx, n, events, attempt)
	switch {
	case n.stateful && panicked(err) && l.suspects.add(n.index, events, err, l.e.now()):
		l.broken.Store(true)
		l.abort(errPanicked)
	case err == nil:
		for i := range events {
			decisions[i] = sr.batch.Decision(i)
		}
		sr.produced = append(sr.produced, sr.batch.Produced()...)
		sr.late += sr.batch.Late()
	case stage.IsUnavailable(err):
		for i := range events {
			decisions[i] = stage.Decision{Verdict: stage.Retry, Err: err}
		}
	case len(events) == 1:
		decisions[0] = blame(err)
	default:
		for i := range events {
			if l.decide(ctx, n, events[i:i+1], decisions[i:i+1], attempt); l.broken.Load() {
				return
			}
		}
	}
}

func panicked(err error) bool {
	_, ok := err.(*panicError) //nolint:errorlint // made by call and never wrapped
	return ok
}

// blame turns the failure of the stage on one event into a verdict.
func blame(err error) stage.Decision {
	switch p, ok := err.(*panicError); { //nolint:errorlint // made by call and never wrapped
	case ok:
		return stage.Decision{Verdict: stage.DeadLetter, Reason: reasonPanic, Err: p}
	case stage.IsPermanent(err):
		return stage.Decision{Verdict: stage.DeadLetter, Reason: reasonPermanent, Err: err}
	default:
		return stage.Decision{Verdict: stage.Retry, Err: err}
	}
}

// retry processes again, after a back-off, what the stage wants to retry. The lane waits
// meanwhile, so that nothing overtakes it. After its last attempt an event is dead; while what the stage calls is away, no attempt
// is counted.
func (l *lane) retry(ctx context.Context, sc *scene, n *node, events []event.Event) bool {
	sr := &l.scratch[n.index]
	waits := false
	defer func() {
		if waits {
			l.waiting.Add(-1)
			l.setProblem("")
		}
	}()
	for attempt := 1; ; attempt++ {
		left, away := sr.toRetry(n)
		if len(left) == 0 {
			return true
		}
		if away != nil {
			if !waits { // also while it is called
				waits = true
				l.waiting.Add(1)
			}
			l.sayAway(n, away)
		}
		if !l.pause(ctx, n, attempt) {
			return false
		}
		sc.s.tallies[n.index].retried += int64(len(left))
		if l.again(ctx, n, events, left, attempt+1); l.broken.Load() {
			return false
		}
	}
}

// sayAway says that a stage waits for what it calls.
func (l *lane) sayAway(n *node, away error) {
	l.setProblem("stage " + n.cfg.Stage + " waits: " + away.Error())
	if n.away.allow(l.e.now()) {
		l.log.Warn("the stage waits for what it calls; no event is blamed", "stage", n.cfg.Stage, "lane", l.index, "problem", away)
	}
}

// toRetry returns the events that are to be processed again, and why, if something is away. What has had its last attempt is
// dead from now on.
func (sr *scratch) toRetry(n *node) (left []int, away error) {
	for i := range sr.decisions {
		d := &sr.decisions[i]
		if d.Verdict != stage.Retry {
			continue
		}
		if len(sr.tried) < len(sr.decisions) {
			sr.tried = grow(sr.tried, len(sr.decisions))
		}
		if stage.IsUnavailable(d.Err) {
			left, away = append(left, i), d.Err
			continue
		}
		if sr.tried[i]++; sr.tried[i] < n.limits.attempts {
			left = append(left, i)
			continue
		}
		err := d.Err
		if err == nil {
			err = errNoReason
		}
		*d = stage.Decision{Verdict: stage.DeadLetter, Reason: reasonRetriesExhausted, Err: fmt.Errorf("after %d attempts: %w", sr.tried[i], err)}
	}
	return left, away
}

// again processes some events once more, side by side.
func (l *lane) again(ctx context.Context, n *node, events []event.Event, left []int, attempt int) {
	sr := &l.scratch[n.index]
	picked := sr.picked[:0]
	for _, i := range left {
		picked = append(picked, events[i])
	}
	sr.picked = picked
	decisions := make([]stage.Decision, len(left))
	for lo := 0; lo < len(left); lo += n.limits.maxEvents {
		hi := min(lo+n.limits.maxEvents, len(left))
		l.decide(ctx, n, picked[lo:hi], decisions[lo:hi], attempt)
	}
	for j, i := range left {
		events[i], sr.decisions[i] = picked[j], decisions[j] // with what the stage added
	}
}

// pause waits before the attempt after attempt; false when the lane ends: another worker goes on.
func (l *lane) pause(ctx context.Context, n *node, attempt int) bool {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	t := time.NewTimer(backoff(n.limits.backoff, n.limits.maxBackoff, attempt-1, l.e.jitter()))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-l.stopping:
		return false
	case <-ctx.Done():
		return false
	}
}

// call is one call of Process; a panic becomes an error.
func (l *lane) call(ctx context.Context, n *node, events []event.Event, attempt int) (err error) {
	sr := &l.scratch[n.index]
	b := &sr.batch
	b.Events, b.Now, b.Partition = events, sr.now, sr.partition
	b.Reset(attempt)
	defer l.clocked(n)()
	defer l.e.recovered(&err)
	return l.instances[n.index].stage.Process(ctx, b)
}

// clocked notes how long a call of the stage takes, and that it goes on.
func (l *lane) clocked(n *node) (end func()) {
	began, busy := l.e.now(), &l.busySince[n.half]
	busy.Store(began.UnixNano())
	return func() {
		busy.Store(0)
		n.metrics.process.Observe(l.e.now().Sub(began).Seconds())
	}
}

// recovered turns a panic of the stage into an error.
func (e *Engine) recovered(err *error) {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	*err = &panicError{value: v, stack: stack}
	if e.panics.allow(e.now()) {
		e.log.Error("the stage panicked", "panic", fmt.Sprint(v), "stack", string(stack))
	}
}

// panicError is a panic of the stage.
type panicError struct {
	value any
	stack []byte
}

// Error gives the value and where it happened: the frames above panic itself.
func (p *panicError) Error() string {
	stack := p.stack
	if _, above, ok := bytes.Cut(stack, []byte("panic(")); ok {
		stack = above
		for range 2 { // the rest of the line of panic, and its file
			if _, next, ok := bytes.Cut(stack, []byte("\n")); ok {
				stack = next
			}
		}
	}
	return fmt.Sprintf("panic: %v\n%s", p.value, stack)
}

// throttle lets one of a flood of equal things through per interval.
type throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  time.Time
}

func (t *throttle) allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < t.every {
		return false
	}
	t.last = now
	return true
}

// keepItems is how many elements a slice that is used again may have room for. Frames of the operator's
// default batch fit. What one unusual message needed is given back.
const keepItems = 8192

// emptied returns no elements, in the memory of s unless that is unusually large.
func emptied[T any](s []T) []T {
	if cap(s) > keepItems {
		return nil
	}
	return s[:0]
}

// grow returns n zero elements, in the memory of s where that is enough and not unusually large.
func grow[T any](s []T, n int) []T {
	s = emptied(s)
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
