package chain

import (
	"context"
	"errors"
	"fmt"

	"millrace.dev/millrace/workers/engine/backoff"
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
	reasonUnspecified      = "unspecified"
	reasonRefused          = "refused"
)

// decide has the stage decide about events, which stand at these places. When it fails on several at once they are
// processed one by one, to find the one to blame. When a stage with state panics, the lane begins anew first (broken).
func (c *Chain) decide(ctx context.Context, n *Node, events []event.Event, decisions []stage.Decision, at places, attempt int) {
	sr := &c.scratch[n.Index]
	if len(events) == 1 {
		if err := c.suspects.poisoned(n.Index, &events[0]); err != nil {
			decisions[0] = blame(err)
			return
		}
	}
	c.judge(ctx, n, &sr.batch, c.call(ctx, n, events, attempt), decisions, at, attempt)
}

// judge takes over what the stage has decided about a batch, or finds the event to blame for its error.
func (c *Chain) judge(ctx context.Context, n *Node, b *stage.Batch, err error, decisions []stage.Decision, at places, attempt int) {
	sr, events := &c.scratch[n.Index], b.Events
	if n.Stateful && panicked(err) {
		c.spoiled.Store(true)
	}
	switch {
	case n.Stateful && panicked(err) && c.suspects.add(n.Index, events, err, c.now()):
		c.broken.Store(true)
		c.abort(ErrPanicked)
	case err == nil:
		for i := range events {
			decisions[i] = b.Decision(i)
			if d := &decisions[i]; d.Verdict == stage.Overflow && c.overflow == nil {
				*d = stage.Decision{Verdict: stage.Retry, Err: asideError{stage.Unavailable(d.Err)}}
			}
		}
		sr.keep(b, at)
		sr.late += b.Late()
	case stage.IsUnavailable(err):
		for i := range events {
			decisions[i] = stage.Decision{Verdict: stage.Retry, Err: err}
		}
	case len(events) == 1:
		decisions[0] = blame(err)
	default:
		for i := range events {
			if c.decide(ctx, n, events[i:i+1], decisions[i:i+1], at.from(i), attempt); c.broken.Load() {
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
func (c *Chain) retry(ctx context.Context, cur *cursor, n *Node, events []event.Event) bool {
	sr := &c.scratch[n.Index]
	waits := false
	defer func() {
		if waits {
			c.waiting.Add(-1)
			c.problem("")
		}
		if c.replay != nil {
			c.replay.Held(false)
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
				c.waiting.Add(1)
			}
			c.warnAway(n, away)
		}
		if !c.pause(ctx, cur, n, attempt, c.waitsAside(away)) {
			return false
		}
		cur.s.Tallies[n.Index].Retried += int64(len(left))
		if c.again(ctx, n, events, left, attempt+1); c.broken.Load() {
			return false
		}
	}
}

// warnAway tells that a stage waits for what it calls.
func (c *Chain) warnAway(n *Node, away error) {
	if c.replay != nil {
		c.replay.Held(true)
	}
	if c.waitsAside(away) { // no lane waits for these, and the stage says it itself
		c.problem("") // it may have held before, when the breaker was still closed
		return
	}
	c.problem("stage " + n.Stage + " waits: " + away.Error())
	if n.away.Allow(c.now()) {
		c.log.Warn("the stage waits for what it calls; no event is blamed", "stage", n.Stage, "lane", c.lane, "problem", away)
	}
}

// toRetry returns the events that are to be processed again, and why, if something is away. What has had its last attempt is
// dead from now on.
func (sr *scratch) toRetry(n *Node) (left []int, away error) {
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
		if sr.tried[i]++; sr.tried[i] < n.Limits.Attempts {
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
func (c *Chain) again(ctx context.Context, n *Node, events []event.Event, left []int, attempt int) {
	sr := &c.scratch[n.Index]
	picked := sr.picked[:0]
	for _, i := range left {
		picked = append(picked, events[i])
	}
	sr.picked = picked
	decisions := make([]stage.Decision, len(left))
	for lo := 0; lo < len(left); lo += n.Limits.MaxEvents {
		hi := min(lo+n.Limits.MaxEvents, len(left))
		c.decide(ctx, n, picked[lo:hi], decisions[lo:hi], places{lo, left}, attempt)
	}
	for j, i := range left {
		events[i], sr.decisions[i] = picked[j], decisions[j] // with what the stage added
	}
}

// pause waits before the attempt after attempt; false when the lane ends: another worker goes on.
func (c *Chain) pause(ctx context.Context, cur *cursor, n *Node, attempt int, aside bool) bool {
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	wait := backoff.Wait(n.Limits.Backoff, n.Limits.MaxBackoff, attempt-1, c.jitter())
	if aside {
		if wait = min(wait, maxAside); attempt == 1 && cur.asked != nil && c.now().Sub(cur.asked.began) > wait { // it has waited for those before it
			return ctx.Err() == nil && !c.stopped()
		}
	}
	return c.wait(ctx, wait)
}

var errNoReason = errors.New("no reason given")
