package autoscale

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
)

const (
	kindScaledObject = "ScaledObject"
	// kedaPolling is how often KEDA asks whether a stage without workers has work.
	kedaPolling = 5 // seconds

	noKEDA = "the cluster does not have the kind ScaledObject (keda.sh/v1alpha1): install KEDA; the operator sets the number of workers itself until then"
)

// KEDA is KEDA, by a ScaledObject that asks the operator; from and to zero too. Without KEDA the operator sets the number itself.
type KEDA struct {
	// Presence says whether the cluster has it.
	Presence *keda.Presence
	// Down is for how long nobody must have wanted more workers before there are fewer.
	Down time.Duration
	// ReadingsURL is where KEDA asks for the readings of stages.
	ReadingsURL string
}

// Name implements Backend.
func (KEDA) Name() scaling.Backend { return scaling.KEDA }

// Sets implements Backend: all of it is KEDA's business.
func (b KEDA) Sets(have, want int32) bool {
	return !b.Presence.Present() && Direct{}.Sets(have, want)
}

func (b KEDA) observe(ctx context.Context, stage *v1alpha1.Stage, o *Observed) error {
	if !b.Presence.Present() {
		o.Backend, o.Trouble = Direct{}, Trouble{v1alpha1.ReasonNoKEDA, noKEDA}
		return nil
	}
	object := keda.New()
	err := b.Presence.Cache.Get(ctx, client.ObjectKeyFromObject(stage), object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	o.ScaledObject = object
	return err
}

func (b KEDA) decide(w Workload, o *Observed, policy scaling.Policy) (*Desired, error) {
	d := &Desired{Policy: policy, Leave: true}
	if policy.Useful() > policy.Min { // from and to zero it is KEDA's, too
		object, err := b.object(w, policy)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kindScaledObject, w.Stage.Name, err)
		}
		d.Kind, d.Object = kindScaledObject, client.ApplyConfigurationFromUnstructured(object)
		d.Setter = "KEDA (" + kindScaledObject + " " + w.Stage.Name + ")"
		if o.ScaledObject != nil {
			d.Trouble, d.Paused = prefixed(o.ScaledObject.GetName()+": ", keda.Trouble(o.ScaledObject)), keda.Paused(o.ScaledObject)
		}
	}
	d.correct(w, o, false)
	return d, nil
}

// scaledObjectChanged lets through edits of a ScaledObject, and whether KEDA can work with it.
func scaledObjectChanged(before, after *unstructured.Unstructured) bool {
	return before.GetGeneration() != after.GetGeneration() || !maps.Equal(before.GetLabels(), after.GetLabels()) ||
		keda.Trouble(before) != keda.Trouble(after) || keda.Paused(before) != keda.Paused(after)
}

// object is the ScaledObject of a stage: the same two numbers, bounds and steps as with a HorizontalPodAutoscaler of our own, which KEDA
// makes of it. KEDA gets them from the operator itself, so it needs neither rights nor a way to NATS, and counts events and not frames.
func (b KEDA) object(w Workload, policy scaling.Policy) (*unstructured.Unstructured, error) {
	triggers := []any{b.trigger(w.Stage, lag.AnswerWanted, 1)}
	if target := policy.Target(); target > 0 {
		triggers = append([]any{b.trigger(w.Stage, lag.AnswerLag, target)}, triggers...)
	}
	steps, err := runtime.DefaultUnstructuredConverter.ToUnstructured(behavior(b.Down))
	if err != nil {
		return nil, err
	}
	owner, err := runtime.DefaultUnstructuredConverter.ToUnstructured(apply.ControlledBy("Stage", w.Stage))
	if err != nil {
		return nil, err
	}
	object := keda.New()
	object.SetNamespace(w.Stage.Namespace)
	object.SetName(w.Stage.Name)
	object.SetLabels(w.Labels())
	if err := unstructured.SetNestedSlice(object.Object, []any{owner}, "metadata", "ownerReferences"); err != nil {
		return nil, err
	}
	object.Object["spec"] = map[string]any{
		"scaleTargetRef":  map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": w.Stage.Name},
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
func (b KEDA) trigger(stage *v1alpha1.Stage, answer string, each int64) map[string]any {
	return map[string]any{
		"type": "metrics-api", "name": answer, "metricType": "AverageValue",
		"metadata": map[string]any{
			"url":           b.ReadingsURL + stage.Namespace + "/" + stage.Name,
			"valueLocation": answer, "targetValue": strconv.FormatInt(each, 10),
		},
	}
}
