package lane

import (
	"context"
	"fmt"
	"strconv"

	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/engine/target"
)

// A sink keeps its events in a target of its own, with the place of the lane (stage.Sink, package target). The dead letters of a step are
// stored before its rows: once these are there, nothing of the step is missing. What the target refuses becomes a dead letter before the rest is stored.

// newTarget is nil where the stage is no sink.
func (l *session) newTarget() *target.Log {
	w := l.w
	if w.Edition.Load().sink() == nil {
		return nil
	}
	lane := w.Config.Pipeline.String() + "/" + w.Config.Stage
	if w.Config.Lanes > 1 {
		lane += "/" + strconv.Itoa(l.index) + "-of-" + strconv.Itoa(w.Config.Lanes)
	}
	return target.New(&target.Options{
		Lane: lane, Owner: l.newOwner(), Log: l.log.With("stage", w.Config.Stage), Jitter: w.Jitter, Timeout: w.callTimeout(),
		Owns:    func(ctx context.Context) (bool, error) { return w.owns(ctx, l.index) },
		Retried: w.metrics().Republished, ConfirmedLate: w.metrics().RepublishedStored,
	})
}

// openTarget takes the lane over in the target, and returns up to where of each input everything is kept; nil = the stage is no sink.
func (l *session) openTarget(ctx context.Context, floors []uint64) ([]progress.Position, error) {
	if l.target == nil {
		return nil, nil
	}
	kept, err := l.target.Open(ctx, l.edition.sink(), l.places)
	if err != nil {
		return nil, fmt.Errorf("the target of the sink: %w", err)
	}
	for i, at := range kept {
		if at.Seq >= floors[i] {
			continue
		}
		// It may lack the right to ask: then nothing is said.
		if next, err := l.sources[i].Next(ctx, at.Seq); err == nil && next != 0 && next <= floors[i] {
			l.log.Warn("the target stands before what is acknowledged, as one that was restored from a backup does: what it lacks is not stored again",
				"lane", l.index, "input", l.places[i].From, "target", at.Seq, "acknowledged", floors[i])
		}
	}
	return kept, nil
}

// keepsBy notes which sink has made the rows of s, and how far s reaches.
func (l *session) keepsBy(s *step) {
	if l.target != nil {
		s.sink, s.reach = l.edition.sink(), l.chain.Done()
	}
}
