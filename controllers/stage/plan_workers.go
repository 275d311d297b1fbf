package stage

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
func workersFor(s *snapshot, run *revision.Revision) (*workers, error) {
	spec, err := run.Spec()
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", run.Name, err)
	}
	config, err := run.ConfigText()
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", run.Name, err)
	}
	scales, err := autoscale.Decide(s.workload(), s.scaling)
	if err != nil {
		return nil, err
	}
	n, leave := replicas(s.stage, s.newest), false
	if scales != nil {
		leave = scales.Leave
		switch {
		case scales.Replicas != nil:
			n = *scales.Replicas
		case s.deployment != nil:
			n = revision.Replicas(s.deployment)
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
		replicas: n, autoscaling: scales, earlier: run == s.newest && run.Marks.Made != hash,
		config: corev1ac.ConfigMap(run.ConfigMap, s.stage.Namespace).
			WithLabels(s.workload().Labels()).
			WithOwnerReferences(apply.ControlledBy("Stage", s.stage)).
			WithData(map[string]string{revision.ConfigKey: config}),
		deployment: appsv1ac.Deployment(s.stage.Name, s.stage.Namespace).
			WithLabels(s.workload().Labels()).
			WithAnnotations(map[string]string{revision.AnnotationRevision: run.Name}).
			WithOwnerReferences(apply.ControlledBy("Stage", s.stage)).
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
