package revision

import (
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Adopted is what the workers of a stage run by that has no revision: an operator of a release before revisions made them,
// or somebody deleted the revisions.
type Adopted struct {
	Content
	Marks Marks
}

// Adopt describes the workers that run already. It is a copy of made with the Deployment and the config of the cluster. Where the pods that
// run can do more than those of made, it keeps the Deployment of made, and the pods are replaced. It is nil when the objects do not tell.
func Adopt(made Content, deployment *appsv1.Deployment, configMap *corev1.ConfigMap, fieldOwner string) (*Adopted, error) {
	if deployment == nil || configMap == nil {
		return nil, nil //nolint:nilnil // nothing is there to adopt
	}
	var c struct {
		Lanes  int            `json:"lanes"`
		Inputs []config.Input `json:"inputs"`
	}
	data := []byte(configMap.Data[ConfigKey])
	if json.Unmarshal(data, &c) != nil || c.Lanes < 1 || len(c.Inputs) == 0 {
		return nil, nil //nolint:nilnil,nilerr // nobody can tell what the workers read
	}
	applied, err := appsv1ac.ExtractDeployment(deployment, fieldOwner)
	if err != nil {
		return nil, fmt.Errorf("read what is applied of Deployment %s: %w", deployment.Name, err)
	}
	if applied.Spec == nil || applied.Spec.Template == nil || applied.Spec.Template.Spec == nil {
		return nil, nil //nolint:nilnil // it is not as an operator made it
	}
	spec := applied.Spec
	spec.Replicas = nil
	pod := spec.Template.Spec
	pod.Volumes = withoutConfig(pod.Volumes)
	a := &Adopted{Content: made, Marks: marksOf(configMap.Annotations)}
	a.Config, a.ConfigMap, a.Lanes, a.Inputs = data, configMap.Name, c.Lanes, nil
	wanted, err := made.Spec()
	if err != nil {
		return nil, err
	}
	wanted.Template.Spec.Volumes = withoutConfig(wanted.Template.Spec.Volumes)
	if sameReach(pod, wanted.Template.Spec) {
		if a.Deployment, err = json.Marshal(spec); err != nil {
			return nil, fmt.Errorf("encode what is applied of Deployment %s: %w", deployment.Name, err)
		}
	}
	for _, in := range c.Inputs {
		a.Inputs = append(a.Inputs, adoptInput(made, in, c.Lanes))
	}
	return a, nil
}

// withoutConfig are volumes but for the ConfigMap, which another revision names otherwise.
func withoutConfig(volumes []corev1ac.VolumeApplyConfiguration) []corev1ac.VolumeApplyConfiguration {
	return slices.DeleteFunc(volumes, func(v corev1ac.VolumeApplyConfiguration) bool { return v.Name != nil && *v.Name == configVolume })
}

// AdoptedLanes is in how many lanes workers that there are work, by their config; 0 when that is not known.
func AdoptedLanes(configMap *corev1.ConfigMap) int {
	var c struct {
		Lanes int `json:"lanes"`
	}
	if configMap == nil || json.Unmarshal([]byte(configMap.Data[ConfigKey]), &c) != nil {
		return 0
	}
	return c.Lanes
}

// adoptInput is an input with the settings of the consumers that are planned for it, where there are any.
func adoptInput(made Content, in config.Input, lanes int) Input {
	out := Input{From: in.From, Stream: in.Stream, Durable: in.Durable}
	for _, planned := range made.Inputs {
		if planned.Stream == in.Stream && planned.Durable == in.Durable && len(planned.Lanes) == lanes {
			return Input{From: in.From, Stream: in.Stream, Durable: in.Durable, Lanes: planned.Lanes}
		}
	}
	for lane := range lanes {
		out.Lanes = append(out.Lanes, plan.Consumer{
			Stream: in.Stream, Durable: in.Consumer(lane, lanes), FilterSubject: in.Filter(lane, lanes),
			AckWait: plan.DefaultAckWait, MaxAckPending: plan.FrameMaxAckPending, Start: in.Start,
		})
	}
	return out
}
