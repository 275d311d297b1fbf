package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/lane"
	"millrace.dev/millrace/workers/stage"
)

// ErrRestart says that a config differs in more than its live members.
var ErrRestart = lane.ErrRestart

// firstEdition makes the stages as the engine is given them.
func (e *Engine) firstEdition() (*lane.Edition, error) {
	first := lane.NewEdition(e.cfg)
	for i, n := range e.worker.Nodes {
		if n.Stateful {
			// A mistake in the settings shows when the worker starts, not when it gets a lane.
			s, err := n.Build(n.Config, prometheus.NewRegistry())
			if err := errors.Join(err, e.checkSink(n, s)); err != nil {
				return nil, err
			}
			continue
		}
		var err error
		if first.Shared[i], err = n.Build(n.Config, n.Register); err != nil {
			return nil, err
		}
		if err := e.checkSink(n, first.Shared[i]); err != nil {
			return nil, err
		}
	}
	return first, nil
}

// Reload has the stages go on with the live members of c (config.StageConfig.Fixed). Each lane takes
// them up before its next step. The error is ErrRestart
// when c differs in more than that, or names what the stage refuses; nothing is changed then. Reload
// may be called before, while and after the engine runs; while the stages start it waits for them.
func (e *Engine) Reload(c *config.StageConfig) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	next, err := e.editionLike(c)
	if err != nil {
		return err
	}
	e.worker.Edition.Store(next)
	return nil
}

// editionLike makes an edition of c that has the stages of the present one, with other rules. The error is
// one of Reload. The caller holds changing.
func (e *Engine) editionLike(c *config.StageConfig) (*lane.Edition, error) {
	have, err := e.cfg.Revision()
	if err != nil {
		return nil, err
	}
	want, err := c.Revision()
	if err != nil {
		return nil, err
	}
	if have != want {
		return nil, ErrRestart
	}
	now := e.worker.Edition.Load()
	next := lane.NewEdition(c)
	for i, n := range e.worker.Nodes {
		if same, err := lane.Equal(now.Configs[i], next.Configs[i]); err != nil {
			return nil, err
		} else if same {
			next.Configs[i], next.Shared[i] = now.Configs[i], now.Shared[i]
		} else if next.Shared[i], err = e.withRules(n, next.Configs[i]); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// withRules checks that n can go on with c, and returns the shared instance that does.
func (e *Engine) withRules(n *lane.Node, c *config.StageConfig) (stage.Stage, error) {
	s := e.worker.Edition.Load().Shared[n.Index]
	if n.Stateful { // what the lanes will be told
		var err error
		if s, err = n.Build(c, prometheus.NewRegistry()); err != nil {
			return nil, err
		}
	}
	next, err := lane.Reload(s, c)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", c.Stage, err)
	}
	if n.Stateful {
		return nil, nil
	}
	if isSink(s) != isSink(next) {
		return nil, fmt.Errorf("stage %s: %w", c.Stage, ErrRestart)
	}
	return next, nil
}

// startStages starts the instances that all lanes share. When one does not start, those before it are shut down.
func (e *Engine) startStages(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	for i, s := range e.worker.Edition.Load().Shared {
		if s == nil {
			continue
		}
		if err := s.Start(ctx); err != nil {
			err = fmt.Errorf("start stage %s: %w", e.worker.Nodes[i].Config.Stage, err)
			return errors.Join(err, shutdown(context.WithoutCancel(ctx), e.worker.Edition.Load().Shared[:i]))
		}
	}
	return nil
}

// stopStages ends them. What is reloaded later is never used.
func (e *Engine) stopStages(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	return shutdown(ctx, e.worker.Edition.Load().Shared)
}

// shutdown ends stages that have started, the last one first.
func shutdown(ctx context.Context, stages []stage.Stage) error {
	var errs []error
	for _, s := range slices.Backward(stages) {
		if s != nil {
			errs = append(errs, s.Shutdown(ctx))
		}
	}
	return errors.Join(errs...)
}

// errSinkAlone says that a sink has its worker for itself.
var errSinkAlone = errors.New("a sink keeps no state and has its worker for itself: no stage is chained to it, and it is chained to none")

func isSink(s stage.Stage) bool {
	_, ok := s.(stage.Sink)
	return ok
}

// checkSink refuses a sink that does not stand alone.
func (e *Engine) checkSink(n *lane.Node, s stage.Stage) error {
	if isSink(s) && (n.Stateful || len(e.worker.Nodes) > 1) {
		return fmt.Errorf("stage %s: %w", n.Config.Stage, errSinkAlone)
	}
	return nil
}
