package lane

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/overflow"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/target"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/stage"
)

// Lane is one part of the work of a stage that one worker owns at a time. It lives from when the worker got it until it lost it
// or gave it back. When its state is in doubt it begins anew: a session after another.
type Lane struct {
	w *Worker
	// index is the number of its lease; number that in what it writes, where a lane and its replay differ.
	index, number int
	inputs        []config.Input
	// overflow is what of the lane is in the overflow of its stage; nil = it has none. replays says that the lane is the one that replays it.
	overflow *overflow.Backlog
	replays  bool
	log      *slog.Logger
	ending

	flushRequests chan flushRequest
	// current is the session, or the last one between two; nil before the first.
	current atomic.Pointer[session]
	// edition is what the stages of the lane decide by.
	edition *Edition
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

// flushRequest asks for a flush: the final one, or one up to a moment of stream time.
type flushRequest struct {
	final bool
	until int64 // Unix milliseconds
	done  chan flushed
}

// flushed is what came of a flush: made says that the stages made something.
type flushed struct {
	made bool
	err  error
}

// fail answers a request that the lane does not come to the end of, if there is one.
func (r flushRequest) fail() {
	select {
	case r.done <- flushed{err: errors.New("the lane began anew during the flush")}:
	default: // none, or answered
	}
}

// New makes what works under one lease and is not at work yet (Run): a lane and, where its stage has an overflow, the lane that replays it.
func New(w *Worker, index int) []*Lane {
	inputs, replayed := w.Config.Split()
	l := newLane(w, index)
	l.inputs = inputs
	if replayed == nil {
		return []*Lane{l}
	}
	r := newLane(w, index)
	r.number, r.inputs, r.replays = config.ReplayLane(index, w.Config.Lanes), []config.Input{*replayed}, true
	r.log = w.Log.With("lane", index, "replays", config.PortOverflow)
	l.overflow = overflow.New(w.Now)
	r.overflow = l.overflow
	return []*Lane{l, r}
}

func newLane(w *Worker, index int) *Lane {
	l := &Lane{
		w: w, index: index, number: index, log: w.Log,
		ending:        ending{stopping: make(chan struct{}), over: make(chan struct{}), lost: make(chan struct{})},
		flushRequests: make(chan flushRequest),
	}
	if w.Config.Lanes > 1 {
		l.log = w.Log.With("lane", index)
	}
	l.setProblem("lane " + strconv.Itoa(index) + " is being taken over")
	return l
}

func (l *Lane) setProblem(text string) { l.problem.Store(&text) }

// Stop has the lane finish what it has in hand and end.
func (l *Lane) Stop() { l.stopOnce.Do(func() { close(l.stopping) }) }

func (l *Lane) stopped() bool { return closed(l.stopping) }

// whenStopped is errStopped when the lane is to be given back.
func (l *Lane) whenStopped() error {
	if l.stopped() {
		return errStopped
	}
	return nil
}

// Lose has the lane end at once: nothing more is stored.
func (l *Lane) Lose() {
	l.lostOnce.Do(func() { close(l.lost) })
	l.Stop()
}

func (l *Lane) isLost() bool { return closed(l.lost) }

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

// StartError says that a stage cannot work: its Factory.New or its Start has failed. The worker ends.
type StartError struct{ err error }

func (e *StartError) Error() string { return e.err.Error() }
func (e *StartError) Unwrap() error { return e.err }

// pause waits; false when the lane ends meanwhile.
func (l *Lane) pause(ctx context.Context, d time.Duration) bool {
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

// How many steps a lane has at once: one is filled, one is processed, one is stored.
const stepsPerLane = 3

// session is a lane at work: its messages are processed in stream order, one step after another, in three goroutines:
//
//	fill     takes what has arrived
//	process  takes it through the stages, which decide
//	commit   stores what came out, then acknowledges
type session struct {
	*Lane

	sources  []*source.Input      // of inputs
	received chan *source.Message // not yet in a step
	merger   *source.Merger       // nil where the lane does not bring its inputs into one order
	ordered  <-chan *source.Message
	again    [][]*source.Message // by input: what is acknowledged and still to be processed in its turn

	chain     *chain.Chain
	instances []instance // by node

	out    *track.Log
	tracks []*track.Track // by the numbers of the outlets of the chain

	target *target.Log // nil = the stage is no sink

	saver *saver // of snapshots; nil = the lane makes none

	teller *teller // of watermarks; nil = no output carries any

	paces atomic.Bool // the replay waits for its turn
	turn  time.Time   // of its next step

	free    chan *step
	working atomic.Int32 // steps that are not stored
	ready   atomic.Bool
}

// newOwner names who writes: the worker and the session.
func (l *session) newOwner() string { return l.w.Name + "/" + rand.Text()[:8] }

// instance is a stage at work in one lane.
type instance struct {
	stage   stage.Stage  // nil for a stateful one that has not started
	metrics *laneMetrics // nil for the shared instance of a stateless stage
}
