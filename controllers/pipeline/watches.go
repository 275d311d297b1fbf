package pipeline

import (
	"context"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/status"
)

// specChanged lets through what changes the work to do: status patches, our own among
// them, do not count, but for one that takes the status away.
func specChanged() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, restarted(), status.Lost())
}

// stageChanged lets through what a Pipeline does about its Stages or says of them. Of lag it
// counts whether there is any: while there is, the sum is refreshed regularly.
func stageChanged() predicate.Predicate {
	return lifecycle.Updated(func(before, after *v1alpha1.Stage) bool {
		return before.Generation != after.Generation ||
			!maps.Equal(before.Labels, after.Labels) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) ||
			readiness(before) != readiness(after) ||
			before.Status.ObservedRevision != after.Status.ObservedRevision ||
			before.Annotations[v1alpha1.AnnotationRestart] != after.Annotations[v1alpha1.AnnotationRestart] ||
			(value(before.Status.Lag) > 0) != (value(after.Status.Lag) > 0) ||
			!equality.Semantic.DeepEqual(before.Status.Duplicates, after.Status.Duplicates)
	})
}

// readiness of a stage, as far as its Pipeline repeats it.
func readiness(stage *v1alpha1.Stage) string {
	s := ""
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionAccepted} {
		if c := meta.FindStatusCondition(stage.Status.Conditions, kind); c != nil {
			s += fmt.Sprintf("%s %s %s %t;", c.Status, c.Reason, c.Message, c.ObservedGeneration == stage.Generation)
		}
	}
	return s
}

// pipelineOf maps a Stage to its Pipeline.
func pipelineOf(_ context.Context, object client.Object) []reconcile.Request {
	stage, ok := object.(*v1alpha1.Stage)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: stage.Namespace, Name: stage.Spec.PipelineRef.Name,
	}}}
}

// restarted lets through that all workers are to be replaced.
func restarted() predicate.Predicate {
	return lifecycle.Updated(func(before, after client.Object) bool {
		return before.GetAnnotations()[v1alpha1.AnnotationRestart] != after.GetAnnotations()[v1alpha1.AnnotationRestart]
	})
}

// labelledPipeline maps a revision to the Pipeline that it is of.
func labelledPipeline(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: object.GetNamespace(), Name: object.GetLabels()[v1alpha1.LabelPipeline],
	}}}
}
