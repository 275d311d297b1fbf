package stage

import (
	appsv1 "k8s.io/api/apps/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/plan"
)

// Where a worker finds its files.
const (
	configVolume = "config"
	configDir    = "/etc/millrace"
	configKey    = "stage.json"
	natsVolume   = "nats"
	natsDir      = "/etc/millrace-nats"
)

// workersFor are the objects that run a stage; keep has the workers stay of the revision that they are of.
func workersFor(s *snapshot, keep bool, settings Settings) (*workers, error) {
	r, err := chooseRevision(s, keep, settings)
	if err != nil {
		return nil, err
	}
	spec, err := r.template()
	if err != nil {
		return nil, err
	}
	scales, err := autoscalingFor(s, settings)
	if err != nil {
		return nil, err
	}
	n, leave := replicas(s.stage, s.node), false
	if scales != nil {
		leave = scales.leave
		switch {
		case scales.set != nil:
			n = *scales.set
		case s.deployment != nil:
			n = specReplicas(s.deployment)
		default:
			n = 1 // what the API server gives a new Deployment
		}
	}
	if !leave {
		spec.WithReplicas(n)
	}
	return &workers{
		replicas: n, autoscaling: scales, earlier: r.earlier, replaces: r.replaces,
		config: corev1ac.ConfigMap(r.name, s.stage.Namespace).
			WithLabels(workerLabels(s)).
			WithAnnotations(r.marks).
			WithOwnerReferences(ownerReference(s.stage)).
			WithData(r.data),
		deployment: appsv1ac.Deployment(s.stage.Name, s.stage.Namespace).
			WithLabels(workerLabels(s)).
			WithOwnerReferences(ownerReference(s.stage)).
			WithSpec(spec),
	}, nil
}

// replicas is the number of workers where it is fixed: none while suspended, else what was asked for.
// Those beyond the lanes of the stage are standbys.
func replicas(stage *v1alpha1.Stage, node *plan.Stage) int32 {
	n := node.Replicas
	if stage.Spec.Replicas != nil {
		n = *stage.Spec.Replicas
	}
	if node.Suspended {
		return 0
	}
	return n
}

func workerLabels(s *snapshot) map[string]string {
	return labels.Workers(s.stage.Spec.PipelineRef.Name, graph.Name(s.stage), string(s.node.Config.Kind))
}

func ownerReference(stage *v1alpha1.Stage) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("Stage").
		WithName(stage.Name).WithUID(stage.UID).
		WithController(true).WithBlockOwnerDeletion(true)
}

// files are what the workers authenticate with.
func (s *snapshot) files() []access.File {
	return access.Files(s.pipeline.Spec.NATS, s.spec().Workers.NATSSecretName)
}

// natsSources puts them into one folder, where the kubelet replaces them when they change.
func natsSources(files []access.File) *corev1ac.ProjectedVolumeSourceApplyConfiguration {
	all := corev1ac.ProjectedVolumeSource()
	for _, f := range files {
		item := corev1ac.KeyToPath().WithKey(f.Key).WithPath(f.Name)
		if f.Kind == v1alpha1.CAConfigMap {
			all.WithSources(corev1ac.VolumeProjection().WithConfigMap(corev1ac.ConfigMapProjection().WithName(f.Object).WithItems(item)))
		} else {
			all.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(f.Object).WithItems(item)))
		}
	}
	return all
}

// configName is the ConfigMap that the pods of a Deployment mount.
func configName(d *appsv1.Deployment) string {
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.Name == configVolume && v.ConfigMap != nil {
			return v.ConfigMap.Name
		}
	}
	return ""
}

// rolledOut reports whether only pods of the present template are left.
func rolledOut(d *appsv1.Deployment) bool {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	s := d.Status
	terminating := s.TerminatingReplicas != nil && *s.TerminatingReplicas > 0
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && !terminating
}
