package stage

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
)

// specChanged lets through what changes the work to do: status patches, our own among
// them, do not count.
func specChanged() builder.Predicates {
	return builder.WithPredicates(predicate.GenerationChangedPredicate{})
}

// pipelineChanged lets through what the stages of a pipeline wait for: its spec and its
// streams.
func pipelineChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.Pipeline)
		after, ok2 := e.ObjectNew.(*v1alpha1.Pipeline)
		if !ok1 || !ok2 {
			return false
		}
		return before.Generation != after.Generation || streamsReady(before) != streamsReady(after)
	}})
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
