package lane

import (
	"context"
	"errors"
	"strconv"
	"time"

	"millrace.dev/millrace/workers/engine/source"
)

// Problems say why the lane does not work, and what its outputs wait for while it does.
func (l *Lane) Problems() (problems, waiting []string) {
	if p := *l.problem.Load(); p != "" {
		problems = append(problems, p)
	}
	s := l.current.Load()
	if s == nil {
		return problems, nil
	}
	if s.target != nil && s.target.Problem() != "" {
		problems = append(problems, s.target.Problem())
	}
	for _, in := range s.sources {
		if state := in.State(); state.EverBound && state.Problem != "" {
			problems = append(problems, state.Problem)
		}
	}
	return problems, s.out.Problems()
}

// Wedged says what shows that the lane is: it has been in one call of a stage for longer than after, or has had messages in hand that long
// without an acknowledgement, and nothing explains it: none of its outputs waits for NATS and none of its events
// for a back-off. Empty = it is not.
func (l *Lane) Wedged(after time.Duration) string {
	s, now := l.current.Load(), l.w.Now()
	if s == nil {
		return "" // it has not begun
	}
	if called := s.chain.InCall(now); called > after {
		return "lane " + strconv.Itoa(l.index) + " has been in one call of the stage for " + called.Round(time.Second).String()
	}
	if s.waits() || !s.ready.Load() || !l.w.Conn.IsConnected() {
		return ""
	}
	if age := l.Waited(); age > after {
		return "lane " + strconv.Itoa(l.index) + " has had messages in hand for " + age.Round(time.Second).String() + " without progress"
	}
	return ""
}

// waits says that something outside holds the session up: the back-off of a retry, another input, an output, or the target of the sink.
func (l *session) waits() bool {
	return l.target != nil && l.target.Problem() != "" || l.paces.Load() || l.chain.Waiting() || l.merger != nil && l.merger.Holds() || len(l.out.Problems()) > 0
}

// Waited is how long the lane has had messages of an input in hand without an acknowledgement.
func (l *Lane) Waited() (longest time.Duration) {
	now := l.w.Now()
	for _, in := range l.Inputs() {
		if s := in.State(); s.InHand.Messages > 0 {
			longest = max(longest, now.Sub(time.Unix(0, s.Since)))
		}
	}
	return longest
}

// Inputs are those of the lane; nil = it has not begun.
func (l *Lane) Inputs() []*source.Input {
	if s := l.current.Load(); s != nil {
		return s.sources
	}
	return nil
}

// Replays says that the lane replays the overflow of another one.
func (l *Lane) Replays() bool { return l.replays }

// Busy says whether something is processed and not stored.
func (l *Lane) Busy() bool {
	s := l.current.Load()
	return s != nil && s.working.Load() > 0
}

// LeftWaiting says why outputs of a lane that has ended waited.
func (l *Lane) LeftWaiting() []string { return l.lastProblems }

// FinalFlush has the stages emit everything that they still hold. It returns when they have, and not yet when that is stored.
func (l *Lane) FinalFlush(ctx context.Context) error {
	_, err := l.ask(ctx, flushRequest{final: true})
	return err
}

// FlushUntil has the stages flushed at each tick up to a moment of stream time, as they are by the clock while nothing comes, and the outputs say how
// far the lane is. It says whether the stages made something, which may not be stored yet.
func (l *Lane) FlushUntil(ctx context.Context, until time.Time) (made bool, err error) {
	return l.ask(ctx, flushRequest{until: until.UnixMilli()})
}

// AskQuiet has a lane that brings several inputs into one order ask the server which of them are quiet, if it waits for that: see source.Input.
func (l *Lane) AskQuiet(ctx context.Context) error {
	s := l.current.Load()
	if s == nil || s.merger == nil || !s.merger.Holds() {
		return nil
	}
	for _, in := range s.sources {
		if err := in.AskQuiet(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lane) ask(ctx context.Context, r flushRequest) (made bool, err error) {
	r.done = make(chan flushed, 1)
	select {
	case l.flushRequests <- r:
	case <-l.over:
		return false, errEnded
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case f := <-r.done:
		return f.made, f.err
	case <-l.over:
		return false, errEnded
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

var errEnded = errors.New("flush: the engine has stopped")
