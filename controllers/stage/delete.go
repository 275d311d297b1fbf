package stage

import (
	"context"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
)

// drainLook is how often the drain of a deleted Stage is looked at.
const drainLook = time.Second

// finalize takes a Stage down: when it is drained, its workers, then its consumers. The ConfigMap goes with
// the Stage.
func (r *Reconciler) finalize(ctx context.Context, stage *v1alpha1.Stage) (wait time.Duration, err error) {
	waits, err := r.drain(ctx, stage)
	if wait, err := r.afterDrain(ctx, stage, waits, err); wait > 0 || err != nil {
		return wait, err
	}
	if waits, err := r.deleteDeployment(ctx, stage); err != nil || waits {
		return drainLook, err
	}
	return r.released(ctx, stage, r.deleteConsumers(ctx, stage)), nil
}

// released says when to delete the consumers again; 0 when they are deleted, or when that is given up.
func (r *Reconciler) released(ctx context.Context, stage *v1alpha1.Stage, err error) time.Duration {
	return r.Released(stage, "consumers", err, func() { r.eventLeftBehind(ctx, stage, err) })
}

// afterDrain says when to look at the drain again; 0 when the stage does not wait for it, or not any more.
func (r *Reconciler) afterDrain(ctx context.Context, stage *v1alpha1.Stage, waits bool, err error) (time.Duration, error) {
	switch {
	case err != nil && access.Reason(err) == "":
		return 0, err
	case err != nil && r.RetriesCleanup(stage, "consumers", err):
		return lifecycle.CleanupRetry, nil
	case err != nil:
		r.eventUnknown(ctx, stage, err)
	case waits: // NATS has answered; where there is nothing to wait for it may not have been asked
		r.CleanupWorks(stage)
		return drainLook, nil
	}
	return 0, nil
}

// podSlack is how long after their grace period pods may take to be gone. Those of a node that is down never are.
const podSlack = 30 * time.Second

// deleteDeployment stops the workers, and says whether to wait for their pods: they finish what they have in hand, for which they need their
// consumers.
func (r *Reconciler) deleteDeployment(ctx context.Context, stage *v1alpha1.Stage) (waits bool, err error) {
	deployment, err := r.ownDeployment(ctx, stage)
	if deployment == nil || err != nil {
		return false, err
	}
	if deployment.DeletionTimestamp.IsZero() {
		// In the foreground: the Deployment stays until its pods are gone.
		err := apply.Delete(ctx, r.Client, "Deployment", deployment, client.PropagationPolicy(metav1.DeletePropagationForeground))
		if err != nil {
			return false, err
		}
		left, err := r.ownDeployment(ctx, stage)
		return left != nil, err
	}
	grace := podSlack
	if seconds := deployment.Spec.Template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace += time.Duration(*seconds) * time.Second
	}
	return r.Now().Sub(deployment.DeletionTimestamp.Time) < grace, nil
}

// ownDeployment is the Deployment of the stage; nil when there is none, or it is somebody else's.
func (r *Reconciler) ownDeployment(ctx context.Context, stage *v1alpha1.Stage) (*appsv1.Deployment, error) {
	var deployment appsv1.Deployment
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(stage), &deployment)
	switch {
	case apierrors.IsNotFound(err), err == nil && !metav1.IsControlledBy(&deployment, stage):
		return nil, nil //nolint:nilnil // there is none
	case err != nil:
		return nil, err
	}
	return &deployment, nil
}

// deleteConsumers deletes what the metadata call the stage's, on every stream of its
// pipeline: what status lists may not be all.
func (r *Reconciler) deleteConsumers(ctx context.Context, stage *v1alpha1.Stage) error {
	nats, err := r.clientFor(ctx, stage)
	if err != nil {
		return err
	}
	owned, err := consumersOf(nats, access.StageOwner(stage, r.Cluster))
	if err != nil {
		return err
	}
	var deleted []string
	defer func() { r.eventConsumersDeleted(ctx, stage, deleted) }()
	for _, stream := range slices.Sorted(maps.Keys(owned)) {
		for _, name := range owned[stream] {
			if err := nats.DeleteConsumer(stream, name); err != nil {
				return err
			}
		}
		deleted = append(deleted, list(owned[stream])+" of stream "+stream)
	}
	return nil
}

// clientFor connects to the server that the stage ran on: its revision knows it, also when the Pipeline is gone already. Of a
// stage that never had one, it is the server of the Pipeline, or else the operator's.
func (r *Reconciler) clientFor(ctx context.Context, stage *v1alpha1.Stage) (*jetstream.Client, error) {
	history, err := revision.List(ctx, r.Client, stage)
	if revision.IsAPIError(err) {
		return nil, err
	}
	if newest := history.Newest(); newest != nil {
		return r.Access.Connect(ctx, stage.Namespace, newest.NATS)
	}
	pipeline, err := graph.PipelineOf(ctx, r.Client, stage)
	if err != nil {
		return nil, err
	}
	if pipeline == nil {
		return r.Access.Connect(ctx, stage.Namespace, nil)
	}
	return r.Access.Client(ctx, pipeline)
}
