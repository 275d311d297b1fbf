package engine

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
)

// lane is one part of the work of a stage that one worker owns at a time. It lives from when the worker got it until it lost it
// or gave it back. When its state is in doubt it begins anew: a session after another.
type lane struct {
	e     *Engine
	index int
	log   *slog.Logger
	ending

	flushRequests chan flushRequest
	// current is the session, or the last one between two; nil before the first.
	current atomic.Pointer[session]
	// edition is what the stages of the lane decide by.
	edition *edition
	// suspects are what the stages panicked on, in the inputs that places name.
	suspects chain.Suspects
	places   []progress.Place
	problem  atomic.Pointer[string]
	// lastProblems say why outputs waited when the session ended.
	lastProblems []string
}

// ending says how a lane ends.
type ending struct {
	// stopping is closed when the lane is to be given back; over when nobody works on it any more.
	stopping, over chan struct{}
	stopOnce       sync.Once
	// lost is closed when another worker owns the lane.
	lost     chan struct{}
	lostOnce sync.Once
}

type flushRequest struct {
	done chan error
}

// fail answers a request that the lane does not come to the end of, if there is one.
func (r flushRequest) fail() {
	select {
	case r.done <- errors.New("the lane began anew during the final flush"):
	default: // none, or answered
	}
}

func newLane(e *Engine, index int) *lane {
	l := &lane{
		e: e, index: index, log: e.log,
		ending:        ending{stopping: make(chan struct{}), over: make(chan struct{}), lost: make(chan struct{})},
		flushRequests: make(chan flushRequest),
	}
	if e.cfg.Lanes > 1 {
		l.log = e.log.With("lane", index)
	}
	l.setProblem("lane " + strconv.Itoa(index) + " is being taken over")
	return l
}

func (l *lane) setProblem(text string) { l.problem.Store(&text) }

// stop has the lane finish what it has in hand and end.
func (l *lane) stop() { l.stopOnce.Do(func() { close(l.stopping) }) }

func (l *lane) stopped() bool { return closed(l.stopping) }

// whenStopped is errStopped when the lane is to be given back.
func (l *lane) whenStopped() error {
	if l.stopped() {
		return errStopped
	}
	return nil
}

// lose has the lane end at once: nothing more is stored.
func (l *lane) lose() {
	l.lostOnce.Do(func() { close(l.lost) })
	l.stop()
}

func (l *lane) isLost() bool { return closed(l.lost) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Reasons for a session to end before the lane is stopped.
var (
	errLost = progress.ErrLost
	// errStopped: the lane was stopped before it had begun.
	errStopped = errors.New("the lane is given back")
)

// startError says that a stage cannot work: its Factory.New or its Start has failed. The worker ends.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// run works until the lane is stopped and its work is stored, or ctx ends. It returns
// errLost when the lane belongs to another worker, and a startError when a stage does not start.
func (l *lane) run(ctx context.Context) error {
	defer close(l.over)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-l.lost:
			cancel(errLost)
		case <-ctx.Done():
		}
	}()
	for failures := 0; ; failures++ {
		began := l.e.now()
		err := l.work(ctx)
		if errors.Is(err, errLost) || errors.Is(context.Cause(ctx), errLost) {
			return errLost
		}
		if failed := (*startError)(nil); errors.As(err, &failed) {
			return err
		}
		if err == nil || errors.Is(err, errStopped) || ctx.Err() != nil {
			return nil
		}
		if l.e.now().Sub(began) > time.Minute {
			failures = 0
		}
		l.setProblem(err.Error())
		l.log.Warn("the lane begins anew", "lane", l.index, "reason", err)
		select {
		case <-time.After(backoff.Wait(50*time.Millisecond, 2*time.Second, failures, l.e.jitter())):
		case <-l.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// work takes the lane over and works until it is stopped or something is in doubt.
func (l *lane) work(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSession(l, cancel)
	l.current.Store(s)
	defer s.end(context.WithoutCancel(ctx))
	return s.run(ctx, cancel)
}

// pause waits; false when the lane ends meanwhile.
func (l *lane) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
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
