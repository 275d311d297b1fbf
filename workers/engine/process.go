package engine

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

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

// process takes all events of g through the stage for the first time.
func (l *lane) process(ctx context.Context, g *group) {
	for lo := 0; lo < len(g.events); lo += l.e.limits.maxEvents {
		hi := min(lo+l.e.limits.maxEvents, len(g.events))
		l.processBatch(ctx, g.events[lo:hi], 1, func(i int, d stage.Decision) { g.decisions[lo+i] = d }, &g.produced)
	}
}

// processBatch has the stage decide about events. When it fails on several at once they
// are processed one by one, to find the one to blame.
func (l *lane) processBatch(ctx context.Context, events []event.Event, attempt int, decide func(int, stage.Decision), produced *[]stage.Produced) {
	err := l.call(ctx, events, attempt)
	switch {
	case err == nil:
		for i := range events {
			decide(i, l.batch.Decision(i))
		}
		*produced = append(*produced, l.batch.Produced()...)
	case len(events) == 1:
		decide(0, blame(err))
	default:
		for i := range events {
			l.processBatch(ctx, events[i:i+1], attempt, func(_ int, d stage.Decision) { decide(i, d) }, produced)
		}
	}
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

// call is one call of Process; a panic becomes an error.
func (l *lane) call(ctx context.Context, events []event.Event, attempt int) (err error) {
	l.batch.Events = events
	l.batch.Reset(attempt)
	l.batch.Now = l.e.now()
	defer l.clocked()()
	defer l.e.recovered(&err)
	return l.e.stage.Process(ctx, &l.batch)
}

// clocked notes how long a call of the stage takes, and that it goes on.
func (l *lane) clocked() (end func()) {
	began := l.e.now()
	l.busySince.Store(began.UnixNano())
	return func() {
		l.busySince.Store(0)
		l.e.metrics.process.Observe(l.e.now().Sub(began).Seconds())
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
