package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/engine/stored"
	"millrace.dev/millrace/workers/lease"
)

// Engine runs one stage, and what is chained to it. Make it with New, run it once with Run.
type Engine struct {
	opts        Options
	cfg         *config.StageConfig
	limits      limits
	conn        *nats.Conn
	js          jetstream.JetStream
	domain      config.Domain
	stored      stored.Client
	log         *slog.Logger
	now         func() time.Time
	jitter      func() float64
	worker      string
	inboxPrefix string
	metrics     *stageMetrics // of the first stage
	ackTimeout  time.Duration
	wedgedAfter time.Duration

	nodes    []*node // the first stage, then the chained ones, parents first
	graph    *chain.Graph
	edition  atomic.Pointer[edition]
	changing sync.Mutex    // held while the edition is exchanged, started or stopped
	keeper   *lease.Keeper // nil when this worker owns all lanes
	kept     chan struct{} // closed when the keeper has ended
	panics   chain.Throttle
	late     chain.Throttle // of what is logged of events that came too late
	dropped  chain.Throttle // of what is logged of events that are left out
	buffers  sync.Pool      // *[]byte of published frames

	mu       sync.Mutex
	lanes    map[int]*lane
	running  sync.WaitGroup
	work     context.Context //nolint:containedctx // of the run: lanes come and go in it
	waiters  chan struct{}   // closed at a reconnect
	draining bool
	fail     context.CancelCauseFunc // ends the run, because of a stage that did not start

	ran     atomic.Bool
	started atomic.Bool
	ended   atomic.Bool
}

// New builds the stages and everything around them. It touches neither network nor clock.
func New(o Options) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	js, err := jetstream.NewWithAPIPrefix(o.Conn, o.Config.NATS.JetStreamDomain.API(""))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	c := o.Config
	prefix := "_INBOX"
	if o.Conn.Opts.InboxPrefix != "" {
		prefix = o.Conn.Opts.InboxPrefix
	}
	e := &Engine{
		opts: o, cfg: c, limits: limitsOf(c), conn: o.Conn, js: js, domain: c.NATS.JetStreamDomain, stored: stored.Client{Conn: o.Conn, Domain: c.NATS.JetStreamDomain}, now: o.Now, jitter: o.Jitter,
		log:        o.Log.With("pipeline", c.Pipeline.String(), "stage", c.Stage),
		ackTimeout: o.AckTimeout, wedgedAfter: o.WedgedAfter,
		worker: o.Worker, inboxPrefix: prefix + ".",
		panics: chain.Throttle{Every: time.Second}, late: chain.Throttle{Every: time.Minute}, dropped: chain.Throttle{Every: time.Minute},
		lanes: map[int]*lane{}, waiters: make(chan struct{}), kept: make(chan struct{}),
	}
	e.opts.Log = e.log
	if e.nodes, err = newNodes(&e.opts); err != nil {
		return nil, err
	}
	first, err := e.firstEdition()
	if err != nil {
		return nil, err
	}
	e.edition.Store(first)
	e.graph = graphOf(e.nodes)
	e.metrics = e.nodes[0].metrics
	if c.Leases != "" {
		e.keeper, err = lease.New(lease.Options{
			Conn: o.Conn, Domain: e.domain, Bucket: c.Leases, Key: c.Stage, Wake: config.WakeSubject(prefix, c.Leases), Worker: o.Worker, Lanes: c.Lanes,
			Duplicates: e.duplicates, Every: o.LeaseEvery, Expire: o.LeaseExpire, Log: e.log, Now: o.Now, Jitter: o.Jitter,
		})
		if err != nil {
			return nil, fmt.Errorf("leases: %w", err)
		}
	}
	return e, nil
}

// Run moves events until ctx ends, then drains: the lanes finish what they have in hand,
// store and acknowledge it, and are given back. Draining takes DrainTimeout at most; an
// error says what was not finished by then (another worker does it again). When a stage does not start, in
// whatever lane, Run drains by itself and returns why.
func (e *Engine) Run(ctx context.Context) error {
	if e.ran.Swap(true) {
		return errors.New("engine: Run was called before")
	}
	defer e.ended.Store(true)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	e.fail = fail
	// What ends the pulling must not end the work in hand.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.work = work
	if err := e.startStages(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while it started
		}
		return err
	}
	var background sync.WaitGroup
	background.Go(func() { e.watchConnection(work) })
	background.Go(func() { e.measure(work) })
	e.started.Store(true)
	keeping, stopKeeping := context.WithCancel(work)
	defer stopKeeping()
	if e.keeper == nil {
		for i := range e.cfg.Lanes {
			e.Acquire(i) //nolint:contextcheck // a lane lives in the context of the run
		}
	} else {
		background.Go(func() { e.keep(keeping) })
	}
	<-ctx.Done()
	err := e.drain(work, cancel, stopKeeping)
	cancel()
	background.Wait()
	var failed *startError
	if !errors.As(context.Cause(ctx), &failed) {
		return errors.Join(err, e.stopStages(context.WithoutCancel(ctx)))
	}
	return errors.Join(failed, err, e.stopStages(context.WithoutCancel(ctx)))
}

// keep takes part in the leases until ctx ends.
func (e *Engine) keep(ctx context.Context) {
	defer close(e.kept)
	if err := e.keeper.Run(ctx, e); err != nil {
		e.log.Error("leases are not kept any more", "error", err)
	}
}

// Acquire has this worker work on a lane: the keeper of the leases says so.
func (e *Engine) Acquire(index int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		if e.keeper != nil {
			e.keeper.Released(index)
		}
		return
	}
	l := newLane(e, index)
	e.lanes[index] = l
	work := e.work
	e.running.Go(func() {
		err := l.run(work)
		e.mu.Lock()
		delete(e.lanes, index)
		e.mu.Unlock()
		if err != nil && !errors.Is(err, errLost) {
			e.fail(err)
		}
		switch {
		case e.keeper == nil:
		case errors.Is(err, errLost):
			e.log.Warn("a lane was lost", "lane", index, "reason", err)
			e.keeper.Lost(index)
		default:
			e.keeper.Released(index)
		}
	})
}

// Release has this worker give a lane back, when what is in hand is stored.
func (e *Engine) Release(index int) {
	e.mu.Lock()
	l := e.lanes[index]
	e.mu.Unlock()
	if l != nil { // else it has ended by itself, and says so once
		l.stop()
	}
}

// Lost has this worker drop a lane at once: it is another worker's.
func (e *Engine) Lost(index int) {
	e.mu.Lock()
	l := e.lanes[index]
	e.mu.Unlock()
	if l != nil { // see Release
		l.lose()
	}
}

// owns asks whether this worker has a lane.
func (e *Engine) owns(ctx context.Context, index int) (bool, error) {
	if e.keeper == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return e.keeper.Owns(ctx, index)
}

// fresh says that the lanes of this worker are its own as far as it can know without asking.
func (e *Engine) fresh() bool { return e.keeper == nil || e.keeper.Fresh() }

// allInputs are those of the lanes that have begun.
func (e *Engine) allInputs() (all [][]*source.Input) {
	for _, l := range e.allLanes() {
		if s := l.current.Load(); s != nil {
			all = append(all, s.inputs)
		}
	}
	return all
}

func (e *Engine) allLanes() []*lane {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		all = append(all, l)
	}
	return all
}

// laneRegisterer takes the metrics of the instance of a stateful stage in one lane.
func (e *Engine) laneRegisterer(n *node, lane int) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"lane": strconv.Itoa(lane)}, n.register)
}

// reconnects returns a channel that is closed at the next reconnect.
func (e *Engine) reconnects() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiters
}

// watchConnection has everything that was under way made again after a reconnect.
func (e *Engine) watchConnection(ctx context.Context) {
	changes := e.conn.StatusChanged(nats.CONNECTED)
	defer e.conn.RemoveStatusListener(changes)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return // the connection was closed
			}
			e.log.Info("connected to NATS again")
			for _, inputs := range e.allInputs() {
				for _, in := range inputs {
					in.Reconnected()
				}
			}
			e.mu.Lock()
			close(e.waiters)
			e.waiters = make(chan struct{})
			e.mu.Unlock()
		}
	}
}

// measure keeps the gauges up to date.
func (e *Engine) measure(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s := e.Stats()
		e.metrics.lagEvents.Set(float64(s.Lag))
		e.metrics.lagSeconds.Set(s.LagSeconds)
		e.metrics.inflightMessages.Set(float64(s.InFlightMessages))
		e.metrics.inflightBytes.Set(float64(s.InFlightBytes))
		e.metrics.lanes.Set(float64(s.Lanes))
		ready := 0.0
		if ok, _ := e.Ready(); ok {
			ready = 1
		}
		e.metrics.ready.Set(ready)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// buffer returns memory for a frame.
func (e *Engine) buffer() *[]byte {
	if b, ok := e.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}
