package stage

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/status"
)

// stageChanged lets through what changes the work to do: status patches, our own among
// them, do not count, but for one that takes the status away.
func stageChanged() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, status.Lost(), acceptedTurned())
}

// acceptedTurned lets through that a Stage is accepted or is not any more, which the Pipeline controller says: whether it is ready hangs on it.
func acceptedTurned() predicate.Predicate {
	accepted := func(o client.Object) metav1.Condition {
		if c := meta.FindStatusCondition(*status.ConditionsOf(o), v1alpha1.ConditionAccepted); c != nil {
			return *c
		}
		return metav1.Condition{}
	}
	return lifecycle.Updated(func(before, after client.Object) bool { return accepted(before) != accepted(after) })
}

// pipelineChanged lets through what the stages of a pipeline wait for: its streams, and that it goes.
func pipelineChanged() predicate.Predicate {
	return lifecycle.Updated(func(before, after *v1alpha1.Pipeline) bool {
		return streamsReady(before) != streamsReady(after) || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero()
	})
}

// revised lets through that a revision is written or is gone, and what is noted on it: whether this release would make another one of the
// same manifests. What it holds does not change.
func revised() predicate.Predicate {
	return predicate.AnnotationChangedPredicate{}
}

func streamsReady(pipeline *v1alpha1.Pipeline) bool {
	return meta.IsStatusConditionTrue(pipeline.Status.Conditions, v1alpha1.ConditionStreamsReady)
}

// stagesOf maps a Pipeline to all its Stages.
func (r *Reconciler) stagesOf(ctx context.Context, object client.Object) []reconcile.Request {
	stages, err := graph.List(ctx, r.Client, object.GetNamespace(), object.GetName())
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot list the stages of a pipeline", "pipeline", client.ObjectKeyFromObject(object))
		return nil
	}
	var requests []reconcile.Request
	for _, stage := range append(stages.Children, stages.Attached...) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: stage.Namespace, Name: stage.Name}})
	}
	return requests
}

// leavingChanged lets through that a Stage begins to go, or is gone: others read what it makes until then.
func leavingChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
		},
	}
}

// siblings maps a Stage to the other Stages of its Pipeline.
func (r *Reconciler) siblings(ctx context.Context, object client.Object) []reconcile.Request {
	stage, ok := object.(*v1alpha1.Stage)
	if !ok {
		return nil
	}
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: stage.Spec.PipelineRef.Name}}
	return slices.DeleteFunc(r.stagesOf(ctx, pipeline), func(request reconcile.Request) bool { return request.Name == stage.Name })
}
