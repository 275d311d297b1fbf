package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/target"
	"millrace.dev/millrace/workers/engine/track"
)

// How many steps a lane has at once: one is filled, one is processed, one is stored.
const stepsPerLane = 3

// session is a lane at work: its messages are processed in stream order, one step after another, in three goroutines:
//
//	fill     takes what has arrived
//	process  takes it through the stages, which decide
//	commit   stores what came out, then acknowledges
type session struct {
	*lane

	inputs   []*source.Input
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

	free    chan *step
	working atomic.Int32 // steps that are not stored
	ready   atomic.Bool
}

// newSession makes what a session needs.
func newSession(of *lane, abort context.CancelCauseFunc) *session {
	e := of.e
	l := &session{lane: of, free: make(chan *step, stepsPerLane), received: make(chan *source.Message, (source.MaxMessages+1024)*len(e.cfg.Inputs))}
	for i := range e.cfg.Inputs {
		l.inputs = append(l.inputs, l.newInput(i))
	}
	l.ordered = l.received
	if e.graph.Stateful && len(l.inputs) > 1 {
		ordered := make(chan *source.Message)
		l.merger = &source.Merger{Inputs: l.inputs, In: l.received, Out: ordered}
		l.ordered = ordered
	}
	l.chain = l.newChain(abort)
	l.out, l.target = l.newLog(), l.newTarget()
	for range stepsPerLane {
		s := newStep(len(e.nodes))
		if s.trace = e.newStepTrace(); s.trace != nil {
			s.Trace = s.trace
		}
		l.free <- s
	}
	return l
}

func (l *session) newInput(i int) *source.Input {
	e := l.e
	return source.New(&source.Options{
		Conn: e.conn, JS: e.js, Domain: e.domain, Stored: &e.stored, InboxPrefix: e.inboxPrefix,
		Config: e.cfg.Inputs[i], Index: i, Inputs: len(e.cfg.Inputs), Lane: l.index, Lanes: e.cfg.Lanes,
		MaxInFlightBytes: e.limits.maxInFlightBytes, Log: l.log, Now: e.now, Jitter: e.jitter,
		Out: l.received, Over: l.over, Owned: func() bool { return e.fresh() && !l.isLost() }, Redelivered: e.metrics.redelivered,
	})
}

func (l *session) newChain(abort context.CancelCauseFunc) *chain.Chain {
	inputs := make([]chain.Input, len(l.e.cfg.Inputs))
	for i, c := range l.e.cfg.Inputs {
		inputs[i] = chain.Input{From: c.From, Stream: c.Stream}
	}
	return chain.New(&chain.Options{
		Graph: l.e.graph, Inputs: inputs, Lane: l.index, Lanes: l.e.cfg.Lanes, Log: l.log, Now: l.e.now, Jitter: l.e.jitter,
		Pause: l.pause, Stopped: l.stopped, Abort: abort, Problem: l.setProblem, Panics: &l.e.panics, Suspects: &l.suspects, CallTimeout: l.e.callTimeout(),
		HeaderRoom: track.HeaderRoom(l.e.cfg.Inputs, l.e.graph.LongestPorts()), MaxPayload: l.e.conn.MaxPayload(),
	})
}

func (l *session) newLog() *track.Log {
	e := l.e
	return track.New(&track.Options{
		Conn: e.conn, Stored: &e.stored, Owner: l.newOwner(), Log: l.log, Now: e.now, Jitter: e.jitter,
		AckTimeout: e.ackTimeout, Buffers: &e.buffers, Owns: func(ctx context.Context) (bool, error) { return e.owns(ctx, l.index) },
		Reconnects: e.reconnects, Stopped: l.whenStopped,
		Metrics: track.Metrics{Republished: e.metrics.republished, ConfirmedLate: e.metrics.republishedStored, Inflight: e.metrics.inflightFrames},
	})
}

// newOwner names who writes: the worker and the session.
func (l *session) newOwner() string { return l.e.worker + "/" + rand.Text()[:8] }

// run takes the lane over and works until it is stopped or something is in doubt.
func (l *session) run(ctx context.Context, cancel context.CancelCauseFunc) error {
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
			if err := in.Run(pulling, l.chain.Flushes() || l.merger != nil); err != nil {
				cancel(err)
			}
		})
	}
	if l.merger != nil {
		all.Go(func() {
			again := l.again
			l.again = nil
			l.merger.Run(ctx, again, l.stopping)
		})
	}
	var saving sync.WaitGroup
	saving.Go(func() { l.saver.run(ctx) })
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
	l.saver.close()
	saving.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// end releases what a session took.
func (l *session) end(ctx context.Context) {
	for _, in := range l.inputs {
		in.Close()
	}
	l.lastProblems = l.out.Close()
	if l.target != nil && l.target.Problem() != "" {
		l.lastProblems = append(l.lastProblems, l.target.Problem())
	}
	l.closeInstances(ctx)
}
