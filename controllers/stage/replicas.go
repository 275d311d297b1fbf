package stage

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/apply"
)

// replicasOwner is the name under which the operator writes a number of workers that others set, too. An
// apply of the Deployment that stops speaking of spec.replicas would have the API server set it to 1; with
// a second owner the number stays.
const replicasOwner = client.FieldOwner("millrace-operator-replicas")

// setReplicas writes the number of workers of a Deployment that exists.
func (r *Reconciler) setReplicas(ctx context.Context, s *snapshot, n int32, why string) error {
	before := specReplicas(s.deployment)
	desired := appsv1ac.Deployment(s.stage.Name, s.stage.Namespace).WithUID(s.deployment.UID).
		WithSpec(appsv1ac.DeploymentSpec().WithReplicas(n))
	if err := r.Client.Apply(ctx, desired, replicasOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("scale Deployment %s to %d: %w", s.stage.Name, n, err)
	}
	if n != before {
		r.eventScaled(s.stage, before, n, why)
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
