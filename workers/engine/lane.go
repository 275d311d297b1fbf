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

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
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
	tracks    []*track // by the numbers of the outlets of the chain
	doubt     *progress.Doubt
	refed     [][]*message // by input: what is acknowledged and still to be processed in its turn
	instances []instance   // by node
	answers   chan answer
	sub       *nats.Subscription
	inbox     string
	free      chan *step

	// chain is what the events go through; current is the same for other goroutines.
	chain   *chain.Chain
	current atomic.Pointer[chain.Chain]

	// edition is what the stages of the lane decide by.
	edition  *edition
	suspects chain.Suspects
	waiting  atomic.Int32 // messages wait for their turn
	working  atomic.Int32 // steps that are not stored
	ready    atomic.Bool
	problem  atomic.Pointer[string]
	outgoing problems
	attempts uint64 // publishes, counted by the committer
	// lastProblems say why outputs waited when the session ended.
	lastProblems []string
}

// instance is a stage at work in one lane.
type instance struct {
	stage   stage.Stage  // nil for a stateful one that has not started
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
		case <-time.After(backoff.Wait(50*time.Millisecond, 2*time.Second, failures, l.e.jitter())):
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
	l.begin(cancel)
	defer l.end(context.WithoutCancel(ctx))
	if err := l.takeOver(ctx); err != nil {
		if l.chain.Broken() {
			return context.Cause(ctx)
		}
		return err
	}
	l.suspects.Rebuilt(l.e.now())
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
func (l *lane) begin(abort context.CancelCauseFunc) {
	l.owner = l.e.worker + "/" + rand.Text()[:8]
	l.queue = make(chan *message, (maxMessages+1024)*len(l.e.cfg.Inputs))
	l.inputs = nil
	for i, c := range l.e.cfg.Inputs {
		l.inputs = append(l.inputs, newInput(l, i, c))
	}
	l.chain = l.newChain(abort)
	l.current.Store(l.chain)
	l.free = make(chan *step, stepsPerLane)
	for range stepsPerLane {
		s := newStep(len(l.e.nodes))
		if s.trace = l.e.newStepTrace(); s.trace != nil {
			s.Trace = s.trace
		}
		l.free <- s
	}
	l.working.Store(0)
	if l.source = l.queue; l.merges() {
		l.sorted = make(chan *message)
		l.source = l.sorted
	}
	l.e.setInputs(l, l.inputs)
}

func (l *lane) newChain(abort context.CancelCauseFunc) *chain.Chain {
	inputs := make([]chain.Input, len(l.e.cfg.Inputs))
	for i, c := range l.e.cfg.Inputs {
		inputs[i] = chain.Input{From: c.From, Stream: c.Stream}
	}
	return chain.New(&chain.Options{
		Graph: l.e.graph, Inputs: inputs, Lane: l.index, Lanes: l.e.cfg.Lanes, Log: l.log, Now: l.e.now, Jitter: l.e.jitter,
		Pause: l.pause, Stopped: l.stopped, Abort: abort, Problem: l.setProblem, Panics: &l.e.panics, Suspects: &l.suspects,
		HeaderRoom: l.e.trackHeaders(), MaxPayload: l.e.conn.MaxPayload(),
	})
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
	for i, n := range l.e.nodes {
		at := &l.instances[i]
		if !n.Stateful {
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
	ctx, end := l.chain.Start(ctx)
	defer end()
	var idle <-chan time.Time
	if l.chain.Flushes() {
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
		l.chain.SetMaxPayload(l.e.conn.MaxPayload())
		l.renew(ctx)
		done := l.chain.Done()
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

// take takes the messages of s through the stages. It returns false when the work ended
// before that was done: then nothing of s may be stored.
func (l *lane) take(ctx context.Context, s *step) bool {
	ok := l.chain.Take(ctx, &s.Step)
	clear(s.messages[len(s.Messages):]) // another worker goes on with these
	s.messages = s.messages[:len(s.Messages)]
	return ok
}

// through passes a step on that all stages are done with.
func (l *lane) through(ctx context.Context, s *step, out chan<- *step) bool {
	return l.chain.Through(ctx, &s.Step, func() bool {
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
