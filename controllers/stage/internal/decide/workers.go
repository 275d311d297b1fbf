package decide

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/revision"
)

// workersFor are the objects that run a stage by a revision. How many there are to be is in the newest.
func workersFor(s *Observed, run *revision.Revision) (*workers, error) {
	spec, err := run.Spec()
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", run.Name, err)
	}
	config, err := run.ConfigText()
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", run.Name, err)
	}
	scales, err := autoscale.Decide(s.Workload(), s.Scaling)
	if err != nil {
		return nil, err
	}
	n, leave := replicas(s.Stage, s.Newest), false
	if scales != nil {
		leave = scales.Leave
		switch {
		case scales.Replicas != nil:
			n = *scales.Replicas
		case s.Deployment != nil:
			n = revision.Replicas(s.Deployment)
		default:
			n = 1 // what the API server gives a new Deployment
		}
	}
	if !leave {
		spec.WithReplicas(n)
	}
	hash, err := run.Hash()
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", run.Name, err)
	}
	return &workers{
		Replicas: n, Autoscaling: scales, Earlier: run == s.Newest && run.Marks.Made != hash,
		Config: corev1ac.ConfigMap(run.ConfigMap, s.Stage.Namespace).
			WithLabels(s.Workload().Labels()).
			WithOwnerReferences(apply.ControlledBy("Stage", s.Stage)).
			WithData(map[string]string{revision.ConfigKey: config}),
		Deployment: appsv1ac.Deployment(s.Stage.Name, s.Stage.Namespace).
			WithLabels(s.Workload().Labels()).
			WithAnnotations(map[string]string{revision.AnnotationRevision: run.Name}).
			WithOwnerReferences(apply.ControlledBy("Stage", s.Stage)).
			WithSpec(spec),
	}, nil
}

// replicas is the number of workers where it is fixed: none while suspended, else what was asked for.
// Those beyond the lanes of the stage are standbys.
func replicas(stage *v1alpha1.Stage, newest *revision.Revision) int32 {
	switch {
	case newest.Suspended:
		return 0
	case stage.Spec.Replicas != nil:
		return *stage.Spec.Replicas
	}
	return newest.Replicas
}

// rolledOut reports whether only pods of the present template are left.
func rolledOut(d *appsv1.Deployment) bool {
	wanted := revision.Replicas(d)
	s := d.Status
	terminating := s.TerminatingReplicas != nil && *s.TerminatingReplicas > 0
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && !terminating
}
