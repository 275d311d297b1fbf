package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/target"
	"millrace.dev/millrace/workers/stage"
)

// A sink keeps its events in a target of its own, with the place of the lane (stage.Sink, package target). The dead letters of a step are
// stored before its rows: once these are there, nothing of the step is missing. What the target refuses becomes a dead letter before the rest is stored.

// errSinkAlone says that a sink has its worker for itself.
var errSinkAlone = errors.New("a sink keeps no state and has its worker for itself: no stage is chained to it, and it is chained to none")

// sinkOf is the sink that the worker runs; nil = the first stage is none.
func (n *edition) sinkOf() stage.Sink {
	s, _ := n.shared[0].(stage.Sink)
	return s
}

// checkSink refuses a sink that does not stand alone.
func (e *Engine) checkSink(n *node, s stage.Stage) error {
	if _, ok := s.(stage.Sink); ok && (n.Stateful || len(e.nodes) > 1) {
		return fmt.Errorf("stage %s: %w", n.cfg.Stage, errSinkAlone)
	}
	return nil
}

// newTarget is nil where the stage is no sink.
func (l *session) newTarget() *target.Log {
	e := l.e
	if e.edition.Load().sinkOf() == nil {
		return nil
	}
	lane := e.cfg.Pipeline.String() + "/" + e.cfg.Stage
	if e.cfg.Lanes > 1 {
		lane += "/" + strconv.Itoa(l.index) + "-of-" + strconv.Itoa(e.cfg.Lanes)
	}
	return target.New(&target.Options{
		Lane: lane, Owner: l.newOwner(), Log: l.log.With("stage", e.cfg.Stage), Jitter: e.jitter, Timeout: e.callTimeout(),
		Owns:    func(ctx context.Context) (bool, error) { return e.owns(ctx, l.index) },
		Retried: e.metrics.republished, ConfirmedLate: e.metrics.republishedStored,
	})
}

// openTarget takes the lane over in the target, and returns up to where of each input everything is kept; nil = the stage is no sink.
func (l *session) openTarget(ctx context.Context, floors []uint64) ([]progress.Position, error) {
	if l.target == nil {
		return nil, nil
	}
	kept, err := l.target.Open(ctx, l.edition.sinkOf(), l.places)
	if err != nil {
		return nil, fmt.Errorf("the target of the sink: %w", err)
	}
	for i, at := range kept {
		if at.Seq == 0 || at.Seq >= floors[i] {
			continue
		}
		next, err := l.inputs[i].Next(ctx, at.Seq)
		if err != nil {
			return nil, err
		}
		if next != 0 && next <= floors[i] {
			l.log.Warn("the target stands before what is acknowledged, as one that was restored from a backup does: what it lacks is not stored again",
				"lane", l.index, "input", l.places[i].From, "target", at.Seq, "acknowledged", floors[i])
		}
	}
	return kept, nil
}

// keepsBy notes which sink has made the rows of s, and how far s reaches.
func (l *session) keepsBy(s *step) {
	if l.target != nil {
		s.sink, s.reach = l.edition.sinkOf(), l.chain.Done()
	}
}

// keep has the rows of s kept, when all else of s is stored.
func (l *session) keep(ctx context.Context, s *step) error {
	for {
		rows := make([]any, len(s.Rows))
		for i, r := range s.Rows {
			rows[i] = r.Value
		}
		err := l.target.Store(ctx, s.sink, rows, s.reach)
		refused := (*stage.Refused)(nil)
		if !errors.As(err, &refused) {
			return err
		}
		s.append.More()
		s.Pending = append(s.Pending[:0], l.chain.Refuse(&s.Step, refused.Rows, s.reach))
		if err := l.append(ctx, s); err != nil {
			return err
		}
	}
}
