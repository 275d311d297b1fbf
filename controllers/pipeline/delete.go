package pipeline

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
)

// cleanupRetry is how often a deletion that waits looks again; the deletion of a child
// wakes it earlier.
const cleanupRetry = 2 * time.Second

// finalize takes a Pipeline down: its Stages first, whose finalizers delete their
// consumers, then the streams, as deletionPolicy says. When NATS does not answer for CleanupTimeout it
// gives up, so that a namespace never hangs on a server that is gone.
func (r *Reconciler) finalize(ctx context.Context, pipeline *v1alpha1.Pipeline) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(pipeline, v1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	left, err := r.deleteChildren(ctx, pipeline)
	if err != nil {
		return reconcile.Result{}, err
	}
	if left > 0 {
		return reconcile.Result{RequeueAfter: cleanupRetry}, nil
	}
	if err := r.releaseStreams(ctx, pipeline); err != nil {
		if r.failures.Lasting(pipeline, r.Now()) < r.CleanupTimeout {
			r.eventWaiting(pipeline, err)
			return reconcile.Result{RequeueAfter: cleanupRetry}, nil
		}
		r.eventLeftBehind(ctx, pipeline, err)
	}
	return reconcile.Result{}, apply.RemoveFinalizer(ctx, r.Client, pipeline)
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
		if err := r.deleteStage(ctx, &stage); err != nil {
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
	streams, err := nats.StreamsOf(ownerOf(pipeline, r.Cluster))
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
