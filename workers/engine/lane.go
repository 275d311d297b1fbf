package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// How many steps a lane has at once: one is filled, one is processed, one is stored.
const stepsPerLane = 3

// lane is one part of the work of a stage that one worker owns at a time: its messages are
// processed in stream order, one step after another, in three goroutines:
//
//	fill     takes what has arrived
//	process  decodes it and takes it through the stages, which decide
//	commit   stores what came out, then acknowledges
//
// A lane lives from when the worker got it until it lost it or gave it back. When its state is in
// doubt it begins anew: a session after another.
type lane struct {
	e     *Engine
	index int
	log   *slog.Logger

	// stopping is closed when the lane is to be given back; over when nobody works on it any more.
	stopping, over chan struct{}
	stopOnce       sync.Once
	// lost is closed when another worker owns the lane.
	lost     chan struct{}
	lostOnce sync.Once

	inputs        []*input
	queue         chan *message // received, not yet in a step
	sorted        chan *message // the same in order, where the lane merges its inputs
	source        chan *message // the one of both that steps are made of
	flushRequests chan flushRequest

	// Of the session:
	owner     string // who writes: worker and session
	places    []progress.Place
	tracks    [][]*track // by node
	numbered  []*track   // the same in a row
	doubt     *progress.Doubt
	refed     [][]*message // by input: what is acknowledged and still to be processed in its turn
	instances []instance   // by node
	answers   chan answer
	sub       *nats.Subscription
	inbox     string
	free      chan *step

	// Of the process goroutine:
	hand       *hand     // the memory of the message in hand; nil in a flush
	scratch    []scratch // by node
	perMessage bool
	flushes    bool // some stage has a Flusher
	replaying  bool
	tick       int64    // Unix seconds of stream time up to which the stages are flushed
	last       []uint64 // stream sequence of the last message processed, by input

	// second is where the second half of a chain takes its work from; nil = there is none, or it
	// is not at work.
	second chan job
	// hands are the ones that are free; contexts is what their decoders remember.
	hands    chan *hand
	contexts *event.Contexts

	// edition is what the stages of the lane decide by.
	edition  *edition
	suspects suspects
	// abort ends the session; broken says that it was called.
	abort  context.CancelCauseFunc
	broken atomic.Bool

	// busySince is when the call of a stage that goes on now began, in each half of a chain, in
	// Unix nanoseconds; 0 = there is none.
	busySince [2]atomic.Int64
	payload   atomic.Int64 // the server's max_payload; to ask for it takes a lock
	waiting   atomic.Int32 // how much of it waits: halves for the back-off of a retry, messages for their turn
	working   atomic.Int32 // steps that are not stored
	ready     atomic.Bool
	problem   atomic.Pointer[string]
	outgoing  problems
	attempts  uint64 // publishes, counted by the committer
	// lastProblems say why outputs waited when the session ended.
	lastProblems []string

	writers sync.Pool // *event.FrameWriter
}

// instance is a stage at work in one lane.
type instance struct {
	stage   stage.Stage // nil for a stateful one that has not started
	flusher stage.Flusher
	metrics *laneMetrics // nil for the shared instance of a stateless stage
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
		e: e, index: index, log: e.log, stopping: make(chan struct{}), over: make(chan struct{}), lost: make(chan struct{}),
		flushRequests: make(chan flushRequest), scratch: make([]scratch, len(e.nodes)),
	}
	if e.cfg.Lanes > 1 {
		l.log = e.log.With("lane", index)
	}
	for _, n := range e.nodes {
		l.perMessage = l.perMessage || n.stateful
	}
	l.setProblem("lane " + strconv.Itoa(index) + " is being taken over")
	return l
}

func (l *lane) setProblem(text string) { l.problem.Store(&text) }

// stop has the lane finish what it has in hand and end.
func (l *lane) stop() { l.stopOnce.Do(func() { close(l.stopping) }) }

func (l *lane) stopped() bool { return closed(l.stopping) }

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
	errLost = errors.New("the lane belongs to another worker")
	// errDoubt: what is stored is not what this lane stored.
	errDoubt = errors.New("somebody else has written to an output of the lane")
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
		err := l.session(ctx)
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
		case <-time.After(backoff(50*time.Millisecond, 2*time.Second, failures, l.e.jitter())):
		case <-l.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// session takes the lane over and works until it is stopped or something is in doubt.
func (l *lane) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.begin()
	defer l.end(context.WithoutCancel(ctx))
	l.abort = cancel
	if err := l.takeOver(ctx); err != nil {
		if l.broken.Load() {
			return context.Cause(ctx)
		}
		return err
	}
	l.suspects.rebuiltAt(l.e.now())
	l.ready.Store(true)
	defer l.ready.Store(false)
	l.setProblem("")
	filled, processed := make(chan *step), make(chan *step)
	var all, inputs sync.WaitGroup
	pulling, stopPulling := context.WithCancel(ctx)
	defer stopPulling()
	for _, in := range l.inputs {
		inputs.Go(func() {
			if err := in.run(pulling); err != nil {
				cancel(err)
			}
		})
	}
	if l.merges() {
		all.Go(func() { l.merge(ctx) })
	}
	all.Go(func() { defer close(filled); l.fill(ctx, filled); stopPulling() })
	all.Go(func() { defer close(processed); l.process(ctx, filled, processed) })
	all.Go(func() {
		for s := range processed {
			if err := l.commit(ctx, s); err != nil {
				cancel(err)
				return
			}
		}
	})
	all.Wait()
	stopPulling()
	inputs.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// begin makes what a session needs.
func (l *lane) begin() {
	l.owner = l.e.worker + "/" + rand.Text()[:8]
	l.payload.Store(l.e.conn.MaxPayload())
	l.queue = make(chan *message, (maxMessages+1024)*len(l.e.cfg.Inputs))
	l.inputs = nil
	for i, c := range l.e.cfg.Inputs {
		l.inputs = append(l.inputs, newInput(l, i, c))
	}
	l.broken.Store(false)
	l.makeHands()
	l.free = make(chan *step, stepsPerLane)
	for range stepsPerLane {
		s := newStep(len(l.e.nodes))
		s.trace = l.e.newStepTrace()
		l.free <- s
	}
	l.working.Store(0)
	l.replaying, l.tick, l.last = false, 0, make([]uint64, len(l.inputs))
	if l.source = l.queue; l.merges() {
		l.sorted = make(chan *message)
		l.source = l.sorted
	}
	l.e.setInputs(l, l.inputs)
}

// end releases what a session took.
func (l *lane) end(ctx context.Context) {
	for _, in := range l.inputs {
		in.close()
	}
	if l.sub != nil {
		_ = l.sub.Unsubscribe()
	}
	l.lastProblems = l.outgoing.list()
	l.outgoing.clear(l)
	l.closeInstances(ctx)
}

// openInstances makes the stages of the lane.
func (l *lane) openInstances(ctx context.Context) error {
	l.instances = make([]instance, len(l.e.nodes))
	l.flushes = false
	for i, n := range l.e.nodes {
		at := &l.instances[i]
		if !n.stateful {
			at.stage = l.edition.shared[i]
		} else {
			at.metrics = &laneMetrics{Registerer: l.e.laneRegisterer(n, l.index)}
			s, err := n.build(&l.e.opts, l.edition.configs[i], at.metrics)
			if err != nil {
				return &startError{err}
			}
			if err := s.Start(ctx); ctx.Err() != nil {
				if err == nil {
					at.stage = s
				}
				return ctx.Err() // the lane ends: that is no fault of the stage
			} else if err != nil {
				return &startError{fmt.Errorf("start stage %s: %w", n.cfg.Stage, err)}
			}
			at.stage = s
		}
		at.flusher, _ = at.stage.(stage.Flusher)
		l.flushes = l.flushes || at.flusher != nil
	}
	return nil
}

// closeInstances shuts the stages of the lane down, the last one that started first.
func (l *lane) closeInstances(ctx context.Context) {
	for i := range slices.Backward(l.instances) {
		at := &l.instances[i]
		if at.metrics == nil {
			continue
		}
		if at.stage != nil {
			_ = at.stage.Shutdown(ctx)
		}
		at.metrics.close()
	}
	l.instances = nil
}

// process takes steps through the stages, and flushes these while nothing comes.
func (l *lane) process(ctx context.Context, in <-chan *step, out chan<- *step) {
	ctx, end := l.beginSecond(ctx)
	defer end()
	var idle <-chan time.Time
	if l.flushes {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		idle = t.C
	}
	for {
		var work func() (*step, bool)
		var asked flushRequest
		select {
		case s, more := <-in:
			if !more {
				return
			}
			work = func() (*step, bool) { return s, l.take(ctx, s) }
		case <-idle:
			work = func() (*step, bool) { return l.flushIdle(ctx) }
		case asked = <-l.flushRequests:
			work = func() (*step, bool) { return l.flushFinal(ctx, asked) }
		case <-ctx.Done():
			work = func() (*step, bool) { return nil, false }
		}
		l.payload.Store(l.e.conn.MaxPayload())
		l.renew(ctx)
		done := l.done()
		s, ok := work()
		if s != nil {
			s.done = done
		}
		if !ok || s != nil && !l.through(ctx, s, out) {
			// Stopped in the middle: nothing of the step is stored.
			asked.fail()
			<-drained(in)
			return
		}
	}
}

// through passes a step on that all stages are done with.
func (l *lane) through(ctx context.Context, s *step, out chan<- *step) bool {
	for _, q := range s.queues {
		q.track.open = nil
	}
	return l.then(ctx, &scene{s: s}, func(*scene) bool {
		for _, q := range s.later {
			q.track.open = nil
		}
		s.queues = append(s.queues, s.later...)
		select {
		case out <- s:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

// drained returns a channel that is closed when nothing comes from in any more.
func drained(in <-chan *step) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range in { // what comes is not stored
		}
	}()
	return done
}

func (l *lane) writer() *event.FrameWriter {
	if w, ok := l.writers.Get().(*event.FrameWriter); ok {
		return w
	}
	return &event.FrameWriter{Hints: true}
}
