package lane

import (
	"context"
	"fmt"
	"slices"
)

// openInstances makes the stages of the lane.
func (l *session) openInstances(ctx context.Context) error {
	l.instances = make([]instance, len(l.w.Nodes))
	for i, n := range l.w.Nodes {
		at := &l.instances[i]
		if !n.Stateful {
			at.stage = l.edition.Shared[i]
		} else {
			at.metrics = &laneMetrics{Registerer: l.w.laneRegisterer(n, l.index)}
			s, err := n.Build(l.edition.Configs[i], at.metrics)
			if err != nil {
				return &StartError{err}
			}
			if err := s.Start(ctx); ctx.Err() != nil {
				if err == nil {
					at.stage = s
				}
				return ctx.Err() // the lane ends: that is no fault of the stage
			} else if err != nil {
				return &StartError{fmt.Errorf("start stage %s: %w", n.Config.Stage, err)}
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

// renew has the lane take up another edition. It is called between two steps, in the goroutine that processes them. What comes
// again of a step that is stored in part may be decided by other rules: see package progress.
func (l *session) renew(ctx context.Context) {
	next := l.w.Edition.Load()
	if next == l.edition {
		return
	}
	if !l.chain.Settle(ctx) { // what came before is done
		return
	}
	for i, n := range l.w.Nodes {
		at := &l.instances[i]
		if next.Configs[i] == l.edition.Configs[i] {
			continue
		}
		if !n.Stateful {
			at.stage = next.Shared[i]
		} else if s, err := Reload(at.stage, next.Configs[i]); err == nil {
			at.stage = s
		} else { // Engine.Reload has tried it
			l.log.Error("the lane goes on with the rules that it has", "stage", n.Config.Stage, "error", err)
		}
		l.chain.Replace(i, at.stage)
	}
	l.edition = next
	l.log.Debug("the lane goes on with other rules", "lane", l.index)
}
