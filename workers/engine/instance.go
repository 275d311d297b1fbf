package engine

import (
	"context"
	"fmt"
	"slices"

	"millrace.dev/millrace/workers/stage"
)

// instance is a stage at work in one lane.
type instance struct {
	stage   stage.Stage  // nil for a stateful one that has not started
	metrics *laneMetrics // nil for the shared instance of a stateless stage
}

// openInstances makes the stages of the lane.
func (l *session) openInstances(ctx context.Context) error {
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
func (l *session) closeInstances(ctx context.Context) {
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
