package engine

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/stage"
)

// undecided returns the events of g that are to be processed again. A stateful stage does
// that at once, after the back-off, so that no later event overtakes; a stateless one goes
// on and comes back to them. ok is false when the work ends before the group is done: then
// nothing of it may be published.
func (l *lane) undecided(work, stop context.Context, g *group) (left []int, ok bool) {
	left = l.exhaust(g, g.retries(nil), 1)
	if !l.e.stateful {
		return left, true
	}
	for attempt := 2; len(left) > 0; attempt++ {
		if !l.pause(work, stop, attempt) {
			return left, false
		}
		l.reprocess(work, g, left, attempt)
		left = l.exhaust(g, g.retries(left[:0]), attempt)
	}
	return nil, true
}

// pause waits before attempt; false when the engine drains: another worker goes on.
func (l *lane) pause(work, stop context.Context, attempt int) bool {
	t := time.NewTimer(l.e.retryWait(attempt))
	defer t.Stop()
	select {
	case <-t.C:
		return work.Err() == nil
	case <-stop.Done():
		return false
	}
}

func (e *Engine) retryWait(attempt int) time.Duration {
	return backoff(e.limits.backoff, e.limits.maxBackoff, attempt-2, e.jitter())
}

// exhaust dead-letters the events of left that had their last attempt and returns the others.
func (l *lane) exhaust(g *group, left []int, attempt int) []int {
	if attempt < l.e.limits.attempts {
		return left
	}
	for _, i := range left {
		err := g.decisions[i].Err
		g.decisions[i] = stage.Decision{
			Verdict: stage.DeadLetter, Reason: reasonRetriesExhausted,
			Err: fmt.Errorf("after %d attempts: %w", attempt, orUnknown(err)),
		}
		if g.tried == nil {
			g.tried = map[int]int{}
		}
		g.tried[i] = attempt
	}
	return left[:0]
}

func (l *lane) parkRetry(r *retry) {
	l.e.parked.park(r, l.e.retryWait(r.attempt))
}

// retryNow processes the events of one retry again and publishes what is decided now.
func (l *lane) retryNow(work, stop context.Context, r *retry) {
	defer l.e.parked.done()
	l.reprocess(work, r.g, r.indices, r.attempt)
	var left []int
	for _, i := range r.indices {
		if r.g.decisions[i].Verdict == stage.Retry {
			left = append(left, i)
		}
	}
	left = l.exhaust(r.g, left, r.attempt)
	if work.Err() != nil || stop.Err() != nil && len(left) > 0 {
		// Draining: another worker goes on with them. Their messages are given back, and so
		// all of their events come again.
		return
	}
	next := &retry{g: r.g, indices: left, attempt: r.attempt + 1}
	if len(left) > 0 {
		r.g.hold(left)
	}
	l.routeAgain(work, r.g, r.indices)
	if len(left) > 0 {
		l.parkRetry(next)
	}
}

// reprocess runs the stage over some events of g.
func (l *lane) reprocess(work context.Context, g *group, indices []int, attempt int) {
	l.e.stats.retried(len(indices))
	again := l.picked[:0]
	for _, i := range indices {
		again = append(again, g.events[i])
	}
	l.picked = again
	l.processBatch(work, again, attempt, func(j int, d stage.Decision) {
		g.decisions[indices[j]] = d
	}, &g.produced)
	for j, i := range indices {
		g.events[i] = again[j] // with what the stage added
	}
}

type unknownError struct{}

func (unknownError) Error() string { return "no reason given" }

func orUnknown(err error) error {
	if err == nil {
		return unknownError{}
	}
	return err
}
