package stage

import (
	"context"
	"maps"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/status"
)

// stageChanged lets through what changes the work to do: status patches, our own among
// them, do not count, but for one that takes the status away.
func stageChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, status.Lost()))
}

// pipelineChanged lets through what the stages of a pipeline wait for: its spec and its
// streams, and that they are to restart.
func pipelineChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.Pipeline)
		after, ok2 := e.ObjectNew.(*v1alpha1.Pipeline)
		if !ok1 || !ok2 {
			return false
		}
		return before.Generation != after.Generation || streamsReady(before) != streamsReady(after) ||
			before.Annotations[v1alpha1.AnnotationRestart] != after.Annotations[v1alpha1.AnnotationRestart]
	}})
}

// autoscalerTurned lets through edits of a HorizontalPodAutoscaler, and whether it works: what it measures
// changes all the time.
func autoscalerTurned() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*autoscalingv2.HorizontalPodAutoscaler)
		after, ok2 := e.ObjectNew.(*autoscalingv2.HorizontalPodAutoscaler)
		if !ok1 || !ok2 {
			return false
		}
		return before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) ||
			autoscalerTrouble(before) != autoscalerTrouble(after)
	}})
}

// scaledObjectTurned lets through edits of a ScaledObject, and whether KEDA can work with it.
func scaledObjectTurned() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*unstructured.Unstructured)
		after, ok2 := e.ObjectNew.(*unstructured.Unstructured)
		if !ok1 || !ok2 {
			return false
		}
		return before.GetGeneration() != after.GetGeneration() || !maps.Equal(before.GetLabels(), after.GetLabels()) ||
			keda.Trouble(before) != keda.Trouble(after) || keda.Paused(before) != keda.Paused(after)
	}}
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

// attachedChanged lets through what may change the plan of the other stages of a pipeline: the
// Stages that users make.
func attachedChanged() builder.Predicates {
	attached := predicate.NewPredicateFuncs(func(o client.Object) bool {
		stage, ok := o.(*v1alpha1.Stage)
		return ok && !graph.IsChild(stage)
	})
	return builder.WithPredicates(predicate.And(attached, predicate.GenerationChangedPredicate{}))
}

// besides maps a Stage to the other Stages of its Pipeline.
func (r *Reconciler) besides(ctx context.Context, object client.Object) []reconcile.Request {
	stage, ok := object.(*v1alpha1.Stage)
	if !ok {
		return nil
	}
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: stage.Spec.PipelineRef.Name}}
	return slices.DeleteFunc(r.stagesOf(ctx, pipeline), func(request reconcile.Request) bool { return request.Name == stage.Name })
}
