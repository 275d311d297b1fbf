package pipeline

import (
	"context"
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
)

// finalize takes a Pipeline down: its Stages first, whose finalizers delete their
// consumers, then the streams, as deletionPolicy says. The deletion of a child wakes it.
func (r *Reconciler) finalize(ctx context.Context, pipeline *v1alpha1.Pipeline) (wait time.Duration, err error) {
	left, err := r.deleteChildren(ctx, pipeline)
	if err != nil {
		return 0, err
	}
	if left > 0 {
		return lifecycle.CleanupRetry, nil
	}
	return r.released(ctx, pipeline, r.releaseStreams(ctx, pipeline)), nil
}

// released says when to release the streams again; 0 when they are released, or when that is given up.
func (r *Reconciler) released(ctx context.Context, pipeline *v1alpha1.Pipeline, err error) time.Duration {
	return r.Released(pipeline, "streams", err, func() { r.eventLeftBehind(ctx, pipeline, err) })
}

// deleteChildren returns how many children are still there.
func (r *Reconciler) deleteChildren(ctx context.Context, pipeline *v1alpha1.Pipeline) (int, error) {
	stages, err := graph.List(ctx, r.Client, pipeline.Namespace, pipeline.Name)
	if err != nil {
		return 0, err
	}
	left := 0
	for _, stage := range stages.Children {
		if !graph.IsChildOf(&stage, pipeline) {
			continue
		}
		left++
		if !stage.DeletionTimestamp.IsZero() {
			continue
		}
		if err := apply.Delete(ctx, r.Client, "Stage", &stage); err != nil {
			return left, err
		}
	}
	return left, nil
}

// releaseStreams deletes the streams or leaves them, as deletionPolicy says. Streams that
// the metadata do not call the pipeline's are never touched.
func (r *Reconciler) releaseStreams(ctx context.Context, pipeline *v1alpha1.Pipeline) error {
	if pipeline.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
		r.eventStreamsRetained(ctx, pipeline)
		return nil
	}
	nats, err := r.Access.Client(ctx, pipeline)
	if err != nil {
		return err
	}
	streams, err := nats.StreamsOf(decide.OwnerOf(pipeline, r.Cluster))
	if err != nil {
		return err
	}
	var deleted []string
	for _, stream := range streams {
		if err = nats.DeleteStream(stream.Config.Name); err != nil {
			break
		}
		deleted = append(deleted, stream.Config.Name)
	}
	r.eventStreamsDeleted(ctx, pipeline, deleted)
	return err
}
