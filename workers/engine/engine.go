package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/lane"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/source"
	"millrace.dev/millrace/workers/lease"
)

// Engine runs one stage, and what is chained to it. Make it with New, run it once with Run.
type Engine struct {
	cfg    *config.StageConfig
	conn   *nats.Conn
	log    *slog.Logger
	worker *lane.Worker

	changing sync.Mutex    // held while the edition is exchanged, started or stopped
	keeper   *lease.Keeper // nil when this worker owns all lanes
	kept     chan struct{} // closed when the keeper has ended

	mu       sync.Mutex
	lanes    map[int][]*lane.Lane // by their lease
	running  sync.WaitGroup
	work     context.Context //nolint:containedctx // of the run: lanes come and go in it
	waiters  chan struct{}   // closed at a reconnect
	draining bool
	fail     context.CancelCauseFunc // ends the run, because of a stage that did not start

	ran     atomic.Bool
	started atomic.Bool
	ended   atomic.Bool
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
	all := lane.New(e.worker, index)
	e.lanes[index] = all
	work := e.work
	e.running.Go(func() {
		err := together(work, all)
		e.mu.Lock()
		delete(e.lanes, index)
		e.mu.Unlock()
		if err != nil && !errors.Is(err, progress.ErrLost) {
			e.fail(err)
		}
		switch {
		case e.keeper == nil:
		case errors.Is(err, progress.ErrLost):
			e.log.Warn("a lane was lost", "lane", index, "reason", err)
			e.keeper.Lost(index)
		default:
			e.keeper.Released(index)
		}
	})
}

// together runs the lanes of one lease: they are given back together, and lost together.
func together(ctx context.Context, all []*lane.Lane) error {
	if len(all) == 1 {
		return all[0].Run(ctx)
	}
	ended := make([]error, len(all))
	var running sync.WaitGroup
	for i, l := range all {
		running.Go(func() {
			ended[i] = l.Run(ctx)
			for _, other := range all {
				if errors.Is(ended[i], progress.ErrLost) {
					other.Lose()
				}
				other.Stop()
			}
		})
	}
	running.Wait()
	for _, err := range ended {
		if failed := (*lane.StartError)(nil); errors.As(err, &failed) {
			return err
		}
	}
	return errors.Join(ended...)
}

// Release has this worker give a lane back, when what is in hand is stored.
func (e *Engine) Release(index int) {
	e.mu.Lock()
	all := e.lanes[index]
	e.mu.Unlock()
	for _, l := range all { // where there is none, it has ended by itself, and says so once
		l.Stop()
	}
}

// Lost has this worker drop a lane at once: it is another worker's.
func (e *Engine) Lost(index int) {
	e.mu.Lock()
	all := e.lanes[index]
	e.mu.Unlock()
	for _, l := range all { // see Release
		l.Lose()
	}
}

// allInputs are those of the lanes that have begun.
func (e *Engine) allInputs() (all [][]*source.Input) {
	for _, l := range e.allLanes() {
		if inputs := l.Inputs(); inputs != nil {
			all = append(all, inputs)
		}
	}
	return all
}

func (e *Engine) allLanes() []*lane.Lane {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*lane.Lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		all = append(all, l...)
	}
	return all
}

// reconnects returns a channel that is closed at the next reconnect.
func (e *Engine) reconnects() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiters
}
