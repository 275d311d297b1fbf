package stage

import (
	"crypto/sha256"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Where a worker finds its files.
const (
	configVolume    = "config"
	configDir       = "/etc/millrace"
	configKey       = "stage.json"
	credentialsDir  = "/etc/millrace-nats" //nolint:gosec // a path, not a credential
	credentialsFile = "user.creds"
)

// workersFor are the objects that run a stage.
func workersFor(s *snapshot, settings Settings) (*workers, error) {
	c := s.node.Config
	if credentialsRef(s.pipeline) != nil {
		c.NATS.CredentialsFile = credentialsDir + "/" + credentialsFile
	}
	data, err := c.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode the config of stage %s: %w", s.node.Name, err)
	}
	name := fmt.Sprintf("%s-%.10x", s.stage.Name, sha256.Sum256(data))
	n := replicas(s.stage, s.node)
	return &workers{
		replicas: n,
		config: corev1ac.ConfigMap(name, s.stage.Namespace).
			WithLabels(workerLabels(s, c.Kind)).
			WithOwnerReferences(ownerReference(s.stage)).
			WithImmutable(true).
			WithData(map[string]string{configKey: string(data)}),
		deployment: deploymentFor(s, settings, name, n),
	}, nil
}

// replicas is the number of workers: none while suspended, else what was asked for. Those
// beyond the lanes of the stage are standbys.
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

func workerLabels(s *snapshot, kind config.Kind) map[string]string {
	return labels.Workers(s.stage.Spec.PipelineRef.Name, graph.Name(s.stage), string(kind))
}

func ownerReference(stage *v1alpha1.Stage) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("Stage").
		WithName(stage.Name).WithUID(stage.UID).
		WithController(true).WithBlockOwnerDeletion(true)
}

func credentialsRef(pipeline *v1alpha1.Pipeline) *v1alpha1.SecretKeyRef {
	if pipeline.Spec.NATS == nil {
		return nil
	}
	return pipeline.Spec.NATS.CredentialsSecretRef
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
