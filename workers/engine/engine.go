package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// Engine runs one stage. Make it with New, run it once with Run.
type Engine struct {
	cfg         *config.StageConfig
	limits      limits
	conn        *nats.Conn
	js          jetstream.JetStream
	log         *slog.Logger
	now         func() time.Time
	jitter      func() float64
	metrics     *stageMetrics
	stats       *stats
	ackTimeout  time.Duration
	wedgedAfter time.Duration

	stage    stage.Stage
	flusher  stage.Flusher // nil when the stage is none
	stateful bool

	inputs  []*input
	pub     *publisher
	ports   *ports
	lanes   []*lane
	queue   chan *message // received, not yet taken by a lane
	parked  *parking
	flushes chan flushRequest
	panics  throttle
	buffers sync.Pool // *[]byte of published frames

	closed  chan struct{} // nobody works any more
	ran     atomic.Bool
	started atomic.Bool
	ended   atomic.Bool
}

// New builds the stage and everything around it. It touches neither network nor clock.
func New(o Options) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	c := o.Config
	e := &Engine{
		cfg: c, limits: limitsOf(c), conn: o.Conn, js: js, now: o.Now, jitter: o.Jitter,
		log:        o.Log.With("pipeline", c.Pipeline.String(), "stage", c.Stage),
		metrics:    o.Metrics.bind(c.Pipeline.String(), c.Stage),
		ackTimeout: o.AckTimeout, wedgedAfter: o.WedgedAfter,
		stateful: o.Factory.Stateful(c),
		flushes:  make(chan flushRequest), closed: make(chan struct{}),
		queue:  make(chan *message, (maxMessages+1024)*len(c.Inputs)),
		panics: throttle{every: time.Second},
	}
	if e.stats, err = newStats(e.metrics); err != nil {
		return nil, fmt.Errorf("make latency sketch: %w", err)
	}
	labels := prometheus.Labels{"pipeline": c.Pipeline.String(), "stage": c.Stage}
	e.stage, err = o.Factory.New(stage.Settings{
		Config: c, Log: e.log, Now: o.Now, Metrics: prometheus.WrapRegistererWith(labels, o.Metrics.registerer),
	})
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", c.Stage, err)
	}
	e.flusher, _ = e.stage.(stage.Flusher)
	e.ports = newPorts(c)
	e.pub = newPublisher(e, e.limits.maxFrames)
	e.parked = newParking(e.closed)
	for i, in := range c.Inputs {
		e.inputs = append(e.inputs, newInput(e, i, in))
	}
	lanes := o.Lanes
	if e.stateful {
		lanes = 1
	}
	for i := range lanes {
		e.lanes = append(e.lanes, newLane(e, i))
	}
	return e, nil
}

// Run moves events until ctx ends, then drains: it stops pulling, finishes what the lanes
// have in hand, publishes and acknowledges it, and gives the rest back to be delivered to
// another worker at once. Draining takes DrainTimeout at most; an error says what was not
// finished by then (it is redelivered, not lost). An error before that is one of the
// stage's start.
func (e *Engine) Run(ctx context.Context) error {
	if e.ran.Swap(true) {
		return errors.New("engine: Run was called before")
	}
	defer e.ended.Store(true)
	defer close(e.closed)
	if err := e.stage.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while it started
		}
		return fmt.Errorf("start stage %s: %w", e.cfg.Stage, err)
	}
	// What ends the pulling must not end the work in hand.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if err := e.subscribe(); err != nil {
		return errors.Join(fmt.Errorf("subscribe: %w", err), e.stage.Shutdown(work))
	}
	var background, lanes sync.WaitGroup
	e.start(ctx, work, &background, &lanes)
	e.started.Store(true)
	<-ctx.Done()
	err := e.drain(work, cancel, &lanes)
	cancel()
	background.Wait()
	return errors.Join(err, e.stage.Shutdown(context.WithoutCancel(ctx)))
}

func (e *Engine) subscribe() error {
	if err := e.pub.subscribe(); err != nil {
		return err
	}
	for _, in := range e.inputs {
		if err := in.subscribe(); err != nil {
			return err
		}
	}
	return nil
}

// start starts the lanes, which stop taking messages when ctx ends, and what serves them,
// which goes on until work ends.
func (e *Engine) start(ctx, work context.Context, background, lanes *sync.WaitGroup) {
	background.Go(func() { e.pub.run(work) })
	background.Go(func() { e.watchConnection(work) })
	background.Go(func() { e.measure(work) })
	for _, in := range e.inputs {
		background.Go(func() { in.run(work) })
	}
	for _, l := range e.lanes {
		lanes.Go(func() { l.run(ctx, work) })
	}
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
			for _, in := range e.inputs {
				in.reconnected()
			}
			e.pub.reconnected()
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
