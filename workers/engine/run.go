package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/lane"
	"millrace.dev/millrace/workers/engine/requests"
	"millrace.dev/millrace/workers/lease"
)

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
	log := o.Log.With("pipeline", c.Pipeline.String(), "stage", c.Stage)
	nodes, err := lane.NewNodes(c, &lane.Kinds{Factory: o.Factory, Registry: o.Registry, Metrics: o.Metrics, Requester: requests.On(o.Conn), Log: log, Now: o.Now})
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: c, conn: o.Conn, log: log, lanes: map[int][]*lane.Lane{}, waiters: make(chan struct{}), kept: make(chan struct{}),
	}
	if c.Leases != "" {
		e.keeper, err = lease.New(lease.Options{
			Conn: o.Conn, Domain: c.NATS.JetStreamDomain, Bucket: c.Leases, Key: c.Stage, Wake: config.WakeSubject(prefix, c.Leases), Worker: o.Worker, Lanes: c.Lanes,
			Duplicates: e.duplicates, Open: e.open, Every: o.LeaseEvery, Expire: o.LeaseExpire, Log: log, Now: o.Now, Jitter: o.Jitter,
		})
		if err != nil {
			return nil, fmt.Errorf("leases: %w", err)
		}
	}
	e.worker = lane.NewWorker(&lane.Options{
		Config: c, Limits: lane.LimitsOf(c), Name: o.Worker, Conn: o.Conn, JS: js, InboxPrefix: prefix + ".", Log: log, Now: o.Now, StreamTime: o.StreamTime, Jitter: o.Jitter, Tracer: o.Tracer,
		AckTimeout: o.AckTimeout, WedgedAfter: o.WedgedAfter, SnapshotEvery: o.SnapshotEvery, Nodes: nodes, Keeper: e.keeper, Reconnects: e.reconnects,
	})
	first, err := e.firstEdition()
	if err != nil {
		return nil, err
	}
	e.worker.Edition.Store(first)
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
	var failed *lane.StartError
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
	m := e.worker.Nodes[0].Metrics
	for {
		s := e.Stats()
		m.LagEvents.Set(float64(s.Lag))
		m.LagSeconds.Set(s.LagSeconds)
		m.OverflowEvents.Set(float64(s.InOverflow))
		m.InflightMessages.Set(float64(s.InFlightMessages))
		m.InflightBytes.Set(float64(s.InFlightBytes))
		m.Lanes.Set(float64(s.Lanes))
		ready := 0.0
		if ok, _ := e.Ready(); ok {
			ready = 1
		}
		m.Ready.Set(ready)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
