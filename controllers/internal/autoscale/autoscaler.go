package autoscale

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/lag"
)

// Autoscaler reads and writes what numbers of workers are set by.
type Autoscaler struct {
	Client client.Client
	// Reader reads past the cache, which has the operator's own objects alone.
	Reader  client.Reader
	Applier *apply.Applier
	// Backend that the operator was told to use.
	Backend Backend
	// Meter has the newest measurements of stages that scale, and tells Wake of those whose number of workers has to be set.
	Meter *lag.Meter
	Wake  <-chan event.GenericEvent
}

// Watch has the Stage controller woken by what its backend goes by.
func (a *Autoscaler) Watch(ctx context.Context, mgr ctrl.Manager, c controller.Controller) error {
	owner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.Stage{}, handler.OnlyControllerOwner())
	if err := c.Watch(source.Kind[client.Object](mgr.GetCache(), &autoscalingv2.HorizontalPodAutoscaler{}, owner, lifecycle.Updated(hpaChanged))); err != nil {
		return err
	}
	if err := c.Watch(source.Channel(a.Wake, &handler.EnqueueRequestForObject{})); err != nil {
		return err
	}
	b, ok := a.Backend.(KEDA)
	if !ok {
		return nil
	}
	b.Presence.OnFound = func(kind client.Object) error {
		return c.Watch(source.Kind(b.Presence.Cache, kind, owner, lifecycle.Updated(scaledObjectChanged)))
	}
	// Known before the first reconcile, which would else scale by itself.
	return b.Presence.Look(ctx)
}

// Observe reads what there is of the scaling of a stage.
func (a *Autoscaler) Observe(ctx context.Context, stage *v1alpha1.Stage) (*Observed, error) {
	o := &Observed{Backend: a.Backend}
	var hpa autoscalingv2.HorizontalPodAutoscaler
	err := a.Client.Get(ctx, client.ObjectKeyFromObject(stage), &hpa)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if err == nil {
		o.HPA = &hpa
	}
	if reading, ok := a.Meter.Latest(client.ObjectKeyFromObject(stage)); ok {
		o.Reading = &reading
	}
	if b, ok := a.Backend.(observer); ok {
		return o, b.observe(ctx, stage, o)
	}
	return o, nil
}

// Scaled is a change of the number of workers by the operator, and why.
type Scaled struct {
	From, To int32
	Reason   string
}

// Prepare comes before the apply of the Deployment, which says nothing of the number where others set it. Whoever set it
// before and is not to any more goes first. It returns nil when the number stays.
func (a *Autoscaler) Prepare(ctx context.Context, w Workload, o *Observed, d *Desired) (*Scaled, error) {
	if err := a.prune(ctx, w.Stage, o, d); err != nil {
		return nil, err
	}
	if d == nil || d.Replicas == nil || w.Deployment == nil {
		return nil, nil //nolint:nilnil // no error: the number stays
	}
	if d.Leave {
		if err := a.setReplicas(ctx, w, *d.Replicas); err != nil {
			return nil, err
		}
	}
	before := revision.Replicas(w.Deployment)
	if before == *d.Replicas {
		return nil, nil //nolint:nilnil // no error: the number stays
	}
	return &Scaled{before, *d.Replicas, d.Reason}, nil
}

// prune deletes the stage's own objects of other backends.
func (a *Autoscaler) prune(ctx context.Context, stage *v1alpha1.Stage, o *Observed, d *Desired) error {
	for _, kind := range []string{kindHPA, kindScaledObject} {
		live := o.live(kind)
		if live == nil || d != nil && d.Kind == kind || !live.GetDeletionTimestamp().IsZero() || !metav1.IsControlledBy(live, stage) {
			continue
		}
		if err := apply.Delete(ctx, a.Client, kind, live); err != nil {
			return err
		}
	}
	return nil
}

// live is the object of a kind that there is, or nil.
func (o *Observed) live(kind string) client.Object {
	switch {
	case kind == kindHPA && o.HPA != nil:
		return o.HPA
	case kind == kindScaledObject && o.ScaledObject != nil:
		return o.ScaledObject
	}
	return nil
}

// Apply applies the object that the backend goes by, after the Deployment. taken says that somebody else has its name.
func (a *Autoscaler) Apply(ctx context.Context, w Workload, o *Observed, d *Desired) (result apply.Outcome, taken string, err error) {
	if d == nil || d.Object == nil {
		return apply.Unchanged, "", nil
	}
	live := o.live(d.Kind)
	if live == nil {
		// People have such objects for workloads of their own, and the cache knows the operator's alone.
		var other client.Object = &autoscalingv2.HorizontalPodAutoscaler{}
		if d.Kind == kindScaledObject {
			other = keda.New()
		}
		switch err := a.Reader.Get(ctx, client.ObjectKeyFromObject(w.Stage), other); {
		case client.IgnoreNotFound(err) != nil:
			return apply.Unchanged, "", fmt.Errorf("look for %s %s: %w", d.Kind, w.Stage.Name, err)
		case err == nil && !metav1.IsControlledBy(other, w.Stage):
			return apply.Unchanged, fmt.Sprintf("there is a %s %s that is not this stage's, and is left alone: delete it, or take workers.max away", d.Kind, w.Stage.Name), nil
		}
	}
	if result, err = a.Applier.Apply(ctx, d.Object, live); err != nil {
		return result, "", fmt.Errorf("apply %s %s: %w", d.Kind, w.Stage.Name, err)
	}
	return result, "", nil
}

// replicasOwner is the name under which the operator writes a number of workers that others set, too. An
// apply of the Deployment that stops speaking of spec.replicas would have the API server set it to 1; with
// a second owner the number stays.
const replicasOwner = client.FieldOwner("millrace-operator-replicas")

// setReplicas writes the number of workers of a Deployment that exists.
func (a *Autoscaler) setReplicas(ctx context.Context, w Workload, n int32) error {
	desired := appsv1ac.Deployment(w.Stage.Name, w.Stage.Namespace).WithUID(w.Deployment.UID).
		WithSpec(appsv1ac.DeploymentSpec().WithReplicas(n))
	if err := a.Client.Apply(ctx, desired, replicasOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("scale Deployment %s to %d: %w", w.Stage.Name, n, err)
	}
	return nil
}

// ownsReplicas says whether the operator's apply of the whole Deployment spoke of the number.
func ownsReplicas(d *appsv1.Deployment) bool {
	for _, e := range d.ManagedFields {
		if e.Manager != string(apply.FieldOwner) || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) == nil && fields.Spec["f:replicas"] != nil {
			return true
		}
	}
	return false
}
