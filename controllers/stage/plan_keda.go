package stage

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
)

// kedaPolling is how often KEDA asks whether a stage without workers has work.
const kedaPolling = 5 // seconds

// scaledObjectFor is the ScaledObject of a stage: the same two numbers, bounds and steps as with a
// HorizontalPodAutoscaler of our own (hpaFor), which KEDA makes of it. KEDA gets them from the operator itself, so it
// needs neither rights nor a way to NATS, and counts events and not frames.
func scaledObjectFor(s *snapshot, policy scaling.Policy, settings Settings) (*unstructured.Unstructured, error) {
	triggers := []any{trigger(s, settings.ReadingsURL, lag.AnswerWanted, 1)}
	if target := policy.Target(); target > 0 {
		triggers = append([]any{trigger(s, settings.ReadingsURL, lag.AnswerLag, target)}, triggers...)
	}
	steps, err := runtime.DefaultUnstructuredConverter.ToUnstructured(behavior(settings.ScaleDownWindow))
	if err != nil {
		return nil, fmt.Errorf("behavior of ScaledObject %s: %w", s.stage.Name, err)
	}
	owner, err := runtime.DefaultUnstructuredConverter.ToUnstructured(apply.ControlledBy("Stage", s.stage))
	if err != nil {
		return nil, fmt.Errorf("owner of ScaledObject %s: %w", s.stage.Name, err)
	}
	object := keda.New()
	object.SetNamespace(s.stage.Namespace)
	object.SetName(s.stage.Name)
	object.SetLabels(workerLabels(s))
	if err := unstructured.SetNestedSlice(object.Object, []any{owner}, "metadata", "ownerReferences"); err != nil {
		return nil, err
	}
	object.Object["spec"] = map[string]any{
		"scaleTargetRef":  map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": s.stage.Name},
		"minReplicaCount": int64(policy.Min),
		"maxReplicaCount": int64(policy.Useful()),
		"pollingInterval": int64(kedaPolling),
		"cooldownPeriod":  int64(0), // the wanted workers are 0 when the window has passed
		"advanced": map[string]any{
			"horizontalPodAutoscalerConfig": map[string]any{"behavior": steps},
		},
		"triggers": triggers,
	}
	return object, nil
}

// trigger has KEDA ask for one number of a stage: so many of it for each worker.
func trigger(s *snapshot, readings, answer string, each int64) map[string]any {
	return map[string]any{
		"type": "metrics-api", "name": answer, "metricType": "AverageValue",
		"metadata": map[string]any{
			"url":           readings + s.stage.Namespace + "/" + s.stage.Name,
			"valueLocation": answer, "targetValue": strconv.FormatInt(each, 10),
		},
	}
}
