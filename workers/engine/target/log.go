package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/stage"
)

// Options are what a Log is made of. All are required.
type Options struct {
	// Lane names the lane among all of all pipelines.
	Lane string
	// Owner names who writes: worker and session, without spaces.
	Owner  string
	Log    *slog.Logger
	Jitter func() float64
	// Owns asks whether the lane is still this worker's.
	Owns func(context.Context) (bool, error)
	// Timeout bounds one call of the sink.
	Timeout time.Duration
	// Retried counts calls of Store that are repeated or looked after, ConfirmedLate those of them that took effect.
	Retried, ConfirmedLate Counter
}

// Counter counts, as one of Prometheus does.
type Counter interface{ Inc() }

const (
	retryBackoff    = 100 * time.Millisecond
	retryMaxBackoff = 5 * time.Second
)

// Log is the target of one lane, for one session. One goroutine uses it, but for Problem.
type Log struct {
	opts     Options
	places   []progress.Place
	at       string // where the lane stands
	attempts uint64
	problem  atomic.Pointer[string]
}

// New makes a log that is not open.
func New(o *Options) *Log { return &Log{opts: *o} }

// Problem says why the target is waited for; empty = it is not.
func (l *Log) Problem() string {
	if p := l.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Open takes the lane over from whoever had it, and returns up to where of each input everything is stored. places are the inputs.
func (l *Log) Open(ctx context.Context, sink stage.Sink, places []progress.Place) ([]progress.Position, error) {
	l.places = places
	at, err := l.ask(ctx, sink)
	if err != nil {
		return nil, err
	}
	reach, _, _ := strings.Cut(at, nameMark)
	to := l.name(reach)
	if err := l.call(ctx, func(ctx context.Context) error { return sink.Store(ctx, l.opts.Lane, nil, at, to) }); err != nil {
		return nil, err
	}
	l.at = to
	return progress.ParseReach(reach, places), nil
}

// nameMark stands before the name of an attempt, behind how far the lane has come.
const nameMark = "#"

// name is a place that nobody else writes.
func (l *Log) name(reach string) string {
	l.attempts++
	return strings.TrimSpace(reach) + " " + nameMark + l.opts.Owner + "/" + strconv.FormatUint(l.attempts, 10)
}

// Store keeps rows and that everything is stored up to reach. It tries for ever. A *stage.Refused says that nothing took effect, because of
// these rows; any other error that the lane is lost, that somebody else has stored, or it is that of ctx.
func (l *Log) Store(ctx context.Context, sink stage.Sink, rows []any, reach []progress.Position) error {
	to := l.name(string(progress.AppendReach(nil, l.places, reach)))
	for failures := 0; ; failures++ {
		err := l.call(ctx, func(ctx context.Context) error { return sink.Store(ctx, l.opts.Lane, rows, l.at, to) })
		if err == nil {
			l.stands(to)
			return nil
		}
		refused := (*stage.Refused)(nil)
		if !errors.As(err, &refused) || !names(refused, len(rows)) {
			refused = nil
			l.opts.Retried.Inc()
		}
		// What is refused may be what is stored already, by an attempt without an answer or by another worker.
		stored, err := l.resolve(ctx, sink, to, err, refused != nil, failures)
		switch {
		case err != nil || stored:
			return err
		case refused != nil:
			return refused
		}
	}
}

// names says whether a refusal names rows that there are, each once.
func names(r *stage.Refused, rows int) bool {
	seen := map[int]bool{}
	for _, row := range r.Rows {
		if row.Row < 0 || row.Row >= rows || seen[row.Row] {
			return false
		}
		seen[row.Row] = true
	}
	return len(seen) > 0
}

// resolve finds out what became of a Store to the place to, which failed with why. It waits before it asks, but atOnce. stored says that it
// took effect; with neither that nor an error, it did not.
func (l *Log) resolve(ctx context.Context, sink stage.Sink, to string, why error, atOnce bool, failures int) (stored bool, err error) {
	for ; ; failures++ {
		if !atOnce {
			l.waits(why)
			if err := pause(ctx, backoff.Wait(retryBackoff, retryMaxBackoff, failures, l.opts.Jitter())); err != nil {
				return false, err
			}
		}
		atOnce = false
		var at string
		if at, why = l.ask(ctx, sink); why != nil {
			continue
		}
		switch at {
		case to:
			l.opts.ConfirmedLate.Inc()
			l.stands(to)
			return true, nil
		case l.at:
			return false, nil
		}
		owns, failed := l.opts.Owns(ctx)
		switch {
		case failed != nil:
			why = failed
		case !owns:
			return false, fmt.Errorf("%w: the target has lane %s at %q", progress.ErrLost, l.opts.Lane, at)
		default:
			return false, fmt.Errorf("%w: the target has lane %s at %q, not at %q", progress.ErrDoubt, l.opts.Lane, at, l.at)
		}
	}
}

// stands notes where the lane stands now.
func (l *Log) stands(at string) {
	l.at = at
	if l.problem.Swap(nil) != nil {
		l.opts.Log.Info("the target takes events again", "lane", l.opts.Lane)
	}
}

// waits notes why the target is waited for.
func (l *Log) waits(why error) {
	text := "the target waits: " + why.Error()
	if l.problem.Swap(&text) == nil {
		l.opts.Log.Warn("the target does not take events; no event is blamed", "lane", l.opts.Lane, "problem", why)
	}
}

func (l *Log) ask(ctx context.Context, sink stage.Sink) (at string, err error) {
	err = l.call(ctx, func(ctx context.Context) error {
		at, err = sink.Place(ctx, l.opts.Lane)
		return err
	})
	return at, err
}

// call calls the sink; a panic becomes an error.
func (l *Log) call(ctx context.Context, f func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			l.opts.Log.Error("the sink panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("the sink panicked: %v", v)
		}
	}()
	return f(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
