package pipeline

import (
	"context"
	"errors"
	"fmt"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/controllers/plan"
)

// outcome is what came of an intent.
type outcome struct {
	// streams as they are now, by name.
	streams map[string]*jetstream.Stream
	// refusals are what NATS answered to a create or update, by stream.
	refusals map[string]error
	// spared are those about streams that the pipeline works without.
	spared map[string]error
	// natsErr: NATS could not be asked, before or in the middle.
	natsErr error
	// created and updated are streams; stages are the children that were written, by what came of it; pruned those that were deleted.
	created []string
	updated []jetstream.StreamChange
	stages  map[apply.Outcome][]string
	pruned  []string
	// applied are the children that were written in this pass, by the name of the object:
	// what their status says is of the past.
	applied map[string]bool
	// accepted is what went wrong with saying so in the Stages; behind: the cache has not seen yet what was written into one.
	accepted error
	behind   bool
	// kubernetes errors end the reconcile and are tried again.
	kubernetes error
}

// waiting reports whether NATS has to be asked again soon.
func (o outcome) waiting() bool { return o.natsErr != nil || len(o.refusals) > 0 }

// nothing is what came of an intent of which nothing has been done yet.
func nothing(s *decide.Observed) outcome {
	return outcome{
		streams: s.Streams, refusals: map[string]error{}, spared: map[string]error{}, natsErr: s.NATSErr,
		stages: map[apply.Outcome][]string{}, applied: map[string]bool{},
	}
}

// apply does all writes. Streams come first: a stage waits for them.
func (r *Reconciler) apply(ctx context.Context, s *snapshot, in decide.Desired) outcome {
	done := nothing(s.Observed)
	for _, change := range in.Streams {
		stream, err := applyStream(s, change)
		switch {
		case jetstream.IsUnreachable(err):
			done.natsErr = err
		case err != nil && change.Optional:
			done.spared[change.Name] = s.nats.ExplainStream(err, change, s.Streams[change.Name])
		case err != nil:
			done.refusals[change.Name] = s.nats.ExplainStream(err, change, s.Streams[change.Name])
		case stream != nil:
			done.streams[change.Name] = stream
			if change.Action == jetstream.ActionCreate {
				done.created = append(done.created, change.Name)
			} else {
				done.updated = append(done.updated, change)
			}
		}
		if done.natsErr != nil {
			break
		}
	}
	made, err := r.applyChildren(ctx, s.Pipeline, in.Children, &done)
	done.kubernetes = errors.Join(append(in.Failed, err,
		r.pruneChildren(ctx, in.Prune, &done))...) // before the others learn that they read it no more
	behind, err := r.applyAccepted(ctx, in.Accepted)
	done.behind, done.accepted = done.behind || behind, err
	done.kubernetes = errors.Join(done.kubernetes, r.applyRevisions(ctx, in.Revisions, done.applied), r.begin(ctx, s, made, done.applied))
	return done
}

// begin writes the first revisions of Stages that were made in this pass: their workers need not wait for the next one, which may be far behind
// in the queue.
func (r *Reconciler) begin(ctx context.Context, s *snapshot, made []v1alpha1.Stage, applied map[string]bool) error {
	if len(made) == 0 {
		return nil
	}
	revisions, failed := decide.Begin(s.Observed, made, r.Settings)
	return errors.Join(append(failed, r.applyRevisions(ctx, revisions, applied))...)
}

// applyStream returns the stream when it wrote it.
func applyStream(s *snapshot, change jetstream.StreamChange) (*jetstream.Stream, error) {
	switch change.Action {
	case jetstream.ActionCreate:
		return s.nats.CreateStream(change.Config)
	case jetstream.ActionUpdate:
		return s.nats.UpdateStream(s.Streams[change.Name], change.Config)
	default:
		return nil, nil
	}
}

// applyChildren returns the Stages that are new. If an earlier pass made one and the cache does not show it yet, it is not new: that pass wrote its first
// revision. This pass is then repeated.
func (r *Reconciler) applyChildren(ctx context.Context, pipeline *v1alpha1.Pipeline, children []decide.ChildStage, done *outcome) (made []v1alpha1.Stage, err error) {
	var errs []error
	for _, c := range children {
		desired, err := decide.Child(pipeline, c.Entry)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		name := plan.ChildName(pipeline.Name, c.Entry.Name)
		result, err := r.Applier.Apply(ctx, desired, c.Live)
		if err != nil {
			errs = append(errs, fmt.Errorf("apply Stage %s: %w", name, err))
			continue
		}
		if result != apply.Unchanged {
			done.applied[name] = true
			done.stages[result] = append(done.stages[result], name)
		}
		if result == apply.Created {
			stage, err := decide.Made(desired)
			switch {
			case err != nil:
				errs = append(errs, err)
			case stage == nil:
			case r.begun.first(stage.UID, r.Now()):
				made = append(made, *stage)
			default:
				done.behind = true
			}
		}
	}
	return made, errors.Join(errs...)
}

// pruneChildren deletes Stages whose entry is gone. Their finalizer deletes their consumers.
func (r *Reconciler) pruneChildren(ctx context.Context, stages []v1alpha1.Stage, done *outcome) error {
	var errs []error
	for _, stage := range stages {
		if err := apply.Delete(ctx, r.Client, "Stage", &stage); err != nil {
			errs = append(errs, err)
			continue
		}
		done.pruned = append(done.pruned, stage.Name)
	}
	return errors.Join(errs...)
}
