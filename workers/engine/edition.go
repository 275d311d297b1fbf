package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// edition is what the stages decide by until the next Reload. It is never written to: a lane goes
// on with the one that it has until it takes up another (lane.renew).
type edition struct {
	// configs are those of the nodes, in their order.
	configs []*config.StageConfig
	// shared are the instances of stateless stages, by node; a stateful one has an instance for each
	// lane, and nil here.
	shared []stage.Stage
}

// ErrRestart says that a config differs in more than its live members.
var ErrRestart = errors.New("the config differs in more than rules and thresholds: that takes a restart")

func newEdition(c *config.StageConfig) *edition {
	n := &edition{configs: []*config.StageConfig{c}, shared: make([]stage.Stage, 1+len(c.Chain))}
	for i := range c.Chain {
		n.configs = append(n.configs, &c.Chain[i])
	}
	return n
}

// firstEdition makes the stages as the engine is given them.
func (e *Engine) firstEdition() (*edition, error) {
	first := newEdition(e.cfg)
	for i, n := range e.nodes {
		if n.Stateful {
			// A mistake in the settings shows when the worker starts, not when it gets a lane.
			s, err := n.build(&e.opts, n.cfg, prometheus.NewRegistry())
			if err := errors.Join(err, e.checkSink(n, s)); err != nil {
				return nil, err
			}
			continue
		}
		var err error
		if first.shared[i], err = n.build(&e.opts, n.cfg, n.register); err != nil {
			return nil, err
		}
		if err := e.checkSink(n, first.shared[i]); err != nil {
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
	e.edition.Store(next)
	return nil
}

// editionLike makes an edition of c that has the stages of the present one, with other rules. The error is
// one of Reload. The caller holds changing.
func (e *Engine) editionLike(c *config.StageConfig) (*edition, error) {
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
	now := e.edition.Load()
	next := newEdition(c)
	for i, n := range e.nodes {
		if same, err := equal(now.configs[i], next.configs[i]); err != nil {
			return nil, err
		} else if same {
			next.configs[i], next.shared[i] = now.configs[i], now.shared[i]
		} else if next.shared[i], err = e.withRules(n, next.configs[i]); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// equal compares the configs of two stages without what is chained to them.
func equal(a, b *config.StageConfig) (bool, error) {
	var encoded [2][]byte
	for i, c := range []*config.StageConfig{a, b} {
		alone := *c
		alone.Chain = nil
		var err error
		if encoded[i], err = alone.Encode(); err != nil {
			return false, err
		}
	}
	return bytes.Equal(encoded[0], encoded[1]), nil
}

// withRules checks that n can go on with c, and returns the shared instance that does.
func (e *Engine) withRules(n *node, c *config.StageConfig) (stage.Stage, error) {
	s := e.edition.Load().shared[n.Index]
	if n.Stateful { // what the lanes will be told
		var err error
		if s, err = n.build(&e.opts, c, prometheus.NewRegistry()); err != nil {
			return nil, err
		}
	}
	next, err := reload(s, c)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", c.Stage, err)
	}
	if n.Stateful {
		return nil, nil
	}
	return next, nil
}

// startStages starts the instances that all lanes share. When one does not start, those before it are shut down.
func (e *Engine) startStages(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	for i, s := range e.edition.Load().shared {
		if s == nil {
			continue
		}
		if err := s.Start(ctx); err != nil {
			err = fmt.Errorf("start stage %s: %w", e.nodes[i].cfg.Stage, err)
			return errors.Join(err, shutdown(context.WithoutCancel(ctx), e.edition.Load().shared[:i]))
		}
	}
	return nil
}

// stopStages ends them. What is reloaded later is never used.
func (e *Engine) stopStages(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	return shutdown(ctx, e.edition.Load().shared)
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

// renew has the lane take up another edition. It is called between two steps, in the goroutine that processes them. What comes
// again of a step that is stored in part may be decided by other rules: see package progress.
func (l *session) renew(ctx context.Context) {
	next := l.e.edition.Load()
	if next == l.edition {
		return
	}
	if !l.chain.Settle(ctx) { // what came before is done
		return
	}
	for i, n := range l.e.nodes {
		at := &l.instances[i]
		if next.configs[i] == l.edition.configs[i] {
			continue
		}
		if !n.Stateful {
			at.stage = next.shared[i]
		} else if s, err := reload(at.stage, next.configs[i]); err == nil {
			at.stage = s
		} else { // Engine.Reload has tried it
			l.log.Error("the lane goes on with the rules that it has", "stage", n.cfg.Stage, "error", err)
		}
		l.chain.Replace(i, at.stage)
	}
	l.edition = next
	l.log.Debug("the lane goes on with other rules", "lane", l.index)
}

// reload is Reload of a stage, if it has it.
func reload(s stage.Stage, c *config.StageConfig) (stage.Stage, error) {
	r, ok := s.(stage.Reloader)
	if !ok {
		return nil, ErrRestart
	}
	return r.Reload(c)
}
