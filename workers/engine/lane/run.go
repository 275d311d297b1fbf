package lane

import (
	"context"
	"errors"
	"sync"
	"time"

	"millrace.dev/millrace/workers/engine/backoff"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/overflow"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/spans"
	"millrace.dev/millrace/workers/engine/track"
)

// Run works until the lane is stopped and its work is stored, or ctx ends. It returns
// errLost when the lane belongs to another worker, and a StartError when a stage does not start.
func (l *Lane) Run(ctx context.Context) error {
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
		began := l.w.Now()
		err := l.work(ctx)
		if errors.Is(err, errLost) || errors.Is(context.Cause(ctx), errLost) {
			return errLost
		}
		if failed := (*StartError)(nil); errors.As(err, &failed) {
			return err
		}
		if err == nil || errors.Is(err, errStopped) || ctx.Err() != nil {
			return nil
		}
		if l.w.Now().Sub(began) > time.Minute {
			failures = 0
		}
		l.setProblem(err.Error())
		l.log.Warn("the lane begins anew", "lane", l.index, "reason", err)
		select {
		case <-time.After(backoff.Wait(50*time.Millisecond, 2*time.Second, failures, l.w.Jitter())):
		case <-l.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// work takes the lane over and works until it is stopped or something is in doubt.
func (l *Lane) work(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newSession(l, cancel)
	l.current.Store(s)
	defer s.end(context.WithoutCancel(ctx))
	return s.run(ctx, cancel)
}

// newSession makes what a session needs.
func newSession(of *Lane, abort context.CancelCauseFunc) *session {
	w := of.w
	l := &session{Lane: of, free: make(chan *step, stepsPerLane), received: make(chan *source.Message, (source.MaxMessages+1024)*len(of.inputs))}
	for i := range of.inputs {
		l.sources = append(l.sources, l.newInput(i))
	}
	l.ordered = l.received
	if w.Graph.Stateful && len(l.sources) > 1 {
		ordered := make(chan *source.Message)
		l.merger = &source.Merger{Inputs: l.sources, In: l.received, Out: ordered}
		l.ordered = ordered
	}
	l.chain = l.newChain(abort)
	l.out, l.target = l.newLog(), l.newTarget()
	traced := l.traced()
	for range stepsPerLane {
		l.free <- newStep(len(w.Nodes), spans.New(traced))
	}
	return l
}

// traced says how steps are traced.
func (l *session) traced() *spans.Options {
	w := l.w
	o := &spans.Options{
		Tracer: w.Tracer, Now: w.Now, Pipeline: w.Config.Pipeline.String(), Parents: w.Graph.Parents(), Inputs: l.inputs, Lane: l.number,
	}
	for _, n := range w.Nodes {
		o.Stages = append(o.Stages, n.Config.Stage)
	}
	return o
}

func (l *session) newInput(i int) *source.Input {
	w := l.w
	return source.New(&source.Options{
		Conn: w.Conn, JS: w.JS, Domain: w.domain, Stored: &w.stored, InboxPrefix: w.InboxPrefix,
		Config: l.inputs[i], Index: i, Inputs: len(l.inputs), Lane: l.index, Lanes: w.Config.Lanes,
		MaxInFlightBytes: w.Limits.MaxInFlightBytes, Log: l.log, Now: w.Now, StreamTime: w.StreamTime, Jitter: w.Jitter,
		Stateful: w.Graph.Stateful, Out: l.received, Over: l.over, Owned: func() bool { return w.fresh() && !l.isLost() }, Redelivered: w.metrics().Redelivered,
	})
}

func (l *session) newChain(abort context.CancelCauseFunc) *chain.Chain {
	inputs := make([]chain.Input, len(l.inputs))
	for i, c := range l.inputs {
		inputs[i] = chain.Input{From: c.From, Stream: c.Stream, Repartitioned: c.Repartitioned, Writers: c.Writers}
	}
	aside, replay := l.overflow, (*overflow.Backlog)(nil)
	if l.replays {
		aside, replay = nil, l.overflow
	}
	return chain.New(&chain.Options{
		Overflow: aside, Replay: replay,
		Graph: l.w.Graph, Inputs: inputs, Lane: l.number, Lanes: l.w.Config.Lanes, Log: l.log, Now: l.w.Now, Jitter: l.w.Jitter,
		Pause: l.pause, Stopped: l.stopped, Abort: abort, Problem: l.setProblem, Panics: &l.w.panics, Suspects: &l.suspects, CallTimeout: l.w.callTimeout(),
		HeaderRoom: track.HeaderRoom(l.inputs, l.w.Graph.LongestPorts(), l.tells()), MaxPayload: l.w.Conn.MaxPayload(),
	})
}

// tells says whether an output of the lane says how far it is.
func (l *session) tells() bool {
	for _, n := range l.w.Nodes {
		for _, out := range n.Config.Outputs {
			if out.Watermarks {
				return true
			}
		}
	}
	return false
}

func (l *session) newLog() *track.Log {
	w := l.w
	return track.New(&track.Options{
		Conn: w.Conn, Stored: &w.stored, Owner: l.newOwner(), Log: l.log, Now: w.Now, Jitter: w.Jitter,
		AckTimeout: w.AckTimeout, Buffers: &w.buffers, Owns: func(ctx context.Context) (bool, error) { return w.owns(ctx, l.index) },
		Reconnects: w.Reconnects, Stopped: l.whenStopped,
		Metrics: track.Metrics{Republished: w.metrics().Republished, ConfirmedLate: w.metrics().RepublishedStored, Inflight: w.metrics().InflightFrames},
	})
}

// run takes the lane over and works until it is stopped or something is in doubt.
func (l *session) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	if err := l.takeOver(ctx); err != nil {
		if l.chain.Broken() {
			return context.Cause(ctx)
		}
		return err
	}
	l.suspects.Rebuilt(l.w.Now())
	l.ready.Store(true)
	defer l.ready.Store(false)
	l.setProblem("")
	filled, processed := make(chan *step), make(chan *step)
	var all, inputs sync.WaitGroup
	pulling, stopPulling := context.WithCancel(ctx)
	defer stopPulling()
	for _, in := range l.sources {
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
	if l.replays {
		inputs.Go(func() { l.watchEmpty(pulling) })
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
	for _, in := range l.sources {
		in.Close()
	}
	l.lastProblems = l.out.Close()
	if l.target != nil && l.target.Problem() != "" {
		l.lastProblems = append(l.lastProblems, l.target.Problem())
	}
	l.closeInstances(ctx)
}
