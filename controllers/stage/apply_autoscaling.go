package stage

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
)

// scaler is an object, of the stage's name, by which somebody else sets the number of workers.
type scaler struct {
	kind string
	// want is nil when there is to be none, have when there is none.
	want runtime.ApplyConfiguration
	have client.Object
	// empty is one to read into.
	empty client.Object
}

func scalersOf(s *snapshot, a *autoscaling) []scaler {
	hpa := scaler{kind: "HorizontalPodAutoscaler", empty: &autoscalingv2.HorizontalPodAutoscaler{}}
	scaledObject := scaler{kind: "ScaledObject", empty: keda.New()}
	if s.hpa != nil {
		hpa.have = s.hpa
	}
	if s.scaledObject != nil {
		scaledObject.have = s.scaledObject
	}
	if a != nil && a.hpa != nil {
		hpa.want = a.hpa
	}
	if a != nil && a.scaledObject != nil {
		scaledObject.want = client.ApplyConfigurationFromUnstructured(a.scaledObject)
	}
	return []scaler{hpa, scaledObject}
}

// applyReplicas comes before the Deployment, which says nothing of the number where others set it; whoever set it
// before and is not to any more goes first.
func (r *Reconciler) applyReplicas(ctx context.Context, s *snapshot, a *autoscaling) error {
	for _, x := range scalersOf(s, a) {
		if x.want == nil && x.have != nil {
			if err := r.deleteScaler(ctx, s, x); err != nil {
				return err
			}
		}
	}
	if a == nil || a.set == nil || s.deployment == nil {
		return nil
	}
	if !a.leave {
		if before := specReplicas(s.deployment); before != *a.set {
			r.eventScaled(s.stage, before, *a.set, a.why)
		}
		return nil
	}
	return r.setReplicas(ctx, s, *a.set, a.why)
}

// deleteScaler deletes the stage's own.
func (r *Reconciler) deleteScaler(ctx context.Context, s *snapshot, x scaler) error {
	if !x.have.GetDeletionTimestamp().IsZero() || !metav1.IsControlledBy(x.have, s.stage) {
		return nil
	}
	return apply.Delete(ctx, r.Client, x.kind, x.have)
}

func (r *Reconciler) applyScalers(ctx context.Context, s *snapshot, a *autoscaling, done *outcome, results map[apply.Outcome][]string) error {
	for _, x := range scalersOf(s, a) {
		if x.want == nil {
			continue
		}
		if x.have == nil {
			taken, err := r.taken(ctx, s, x)
			if err != nil {
				return err
			}
			if taken {
				done.taken = fmt.Sprintf("there is a %s %s that is not this stage's, and is left alone: delete it, or take workers.max away", x.kind, s.stage.Name)
				continue
			}
		}
		result, err := r.Applier.Apply(ctx, x.want, x.have)
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", x.kind, s.stage.Name, err)
		}
		results[result] = append(results[result], x.kind+" "+s.stage.Name)
	}
	return nil
}

// taken says whether an object which is to be made is there and is somebody else's: people have such ones for
// workloads of their own, and the cache knows the operator's alone.
func (r *Reconciler) taken(ctx context.Context, s *snapshot, x scaler) (bool, error) {
	err := r.Reader.Get(ctx, client.ObjectKeyFromObject(s.stage), x.empty)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s %s: %w", x.kind, s.stage.Name, err)
	}
	return !metav1.IsControlledBy(x.empty, s.stage), nil
}
