package pipeline

import (
	"context"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
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

// stageChanged lets through what a Pipeline does about its Stages or says of them, but for progress. Of lag it
// counts whether there is any: while there is, the sum is refreshed regularly.
func stageChanged() predicate.Predicate {
	return lifecycle.Updated(func(before, after *v1alpha1.Stage) bool {
		progress := progressing(before) && progressing(after)
		return before.Generation != after.Generation ||
			!maps.Equal(before.Labels, after.Labels) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences) ||
			!progress && readiness(before) != readiness(after) ||
			!progress && before.Status.ObservedRevision != after.Status.ObservedRevision ||
			before.Annotations[v1alpha1.AnnotationRestart] != after.Annotations[v1alpha1.AnnotationRestart] ||
			(value(before.Status.Lag) > 0) != (value(after.Status.Lag) > 0) ||
			!equality.Semantic.DeepEqual(before.Status.Duplicates, after.Status.Duplicates)
	})
}

// progressEvery bounds how often a Pipeline repeats how far its Stages have got on the way to Ready. When many are made at once, each
// would otherwise be told of in writes of its own.
const progressEvery = 5 * time.Second

// stageProgressed lets through that a Stage got on with its work, and has not come to the end of it.
func stageProgressed() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: lifecycle.Updated(func(before, after *v1alpha1.Stage) bool {
			return progressing(before) && progressing(after) && readiness(before) != readiness(after)
		}).Update,
	}
}

// progressing reports whether a Stage is on its way to Ready, as far as it is known.
func progressing(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionReady)
	return c == nil || c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonProgressing
}

// soon has the Pipeline of a Stage looked at within progressEvery.
func soon() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range pipelineOf(ctx, e.ObjectNew) {
			q.AddAfter(request, progressEvery)
		}
	}}
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
