package decide

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"

	"millrace.dev/millrace/api/v1alpha1"
	stageac "millrace.dev/millrace/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/plan"
)

// Child is the child Stage of one entry of the spec. It says nothing of spec.replicas:
// that is for `kubectl scale` and autoscalers. The finalizer is there from the start, which saves the Stage controller a write.
func Child(pipeline *v1alpha1.Pipeline, entry v1alpha1.PipelineStage) (*stageac.StageApplyConfiguration, error) {
	node, err := nodeFor(entry.StageNode)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", entry.Name, err)
	}
	spec := stageac.StageSpec().WithPipelineRef(stageac.PipelineRef().WithName(pipeline.Name)).WithName(entry.Name)
	spec.StageNodeApplyConfiguration = *node
	return stageac.Stage(plan.ChildName(pipeline.Name, entry.Name), pipeline.Namespace).
		WithLabels(labels.Of(pipeline.Name, entry.Name)).
		WithOwnerReferences(apply.ControlledBy("Pipeline", pipeline)).
		WithFinalizers(v1alpha1.Finalizer).
		WithSpec(spec), nil
}

// Made is a child as the API server made it, whose answer stands in applied. It is nil for a Stage that the Stage controller has seen and the cache does not
// show yet: what that runs is not known.
func Made(applied *stageac.StageApplyConfiguration) (*v1alpha1.Stage, error) {
	data, err := json.Marshal(applied)
	if err != nil {
		return nil, err
	}
	var stage v1alpha1.Stage
	if err := json.Unmarshal(data, &stage); err != nil {
		return nil, fmt.Errorf("read Stage %s: %w", *applied.Name, err)
	}
	if stage.UID == "" || stage.Generation != 1 || len(stage.Status.Conditions) > 0 {
		return nil, nil
	}
	return &stage, nil
}

// nodeFor says the same as node in the form that apply needs. Both have the same JSON, but
// for the structs of node that are not pointers and were left out by the user.
func nodeFor(node v1alpha1.StageNode) (*stageac.StageNodeApplyConfiguration, error) {
	data, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	applied := stageac.StageNode()
	if err := json.Unmarshal(data, applied); err != nil {
		return nil, err
	}
	if node.Output == (v1alpha1.PortSpec{}) {
		applied.Output = nil
	}
	if equality.Semantic.DeepEqual(node.Workers, v1alpha1.WorkersSpec{}) {
		applied.Workers = nil
	}
	if applied.Workers != nil && equality.Semantic.DeepEqual(node.Workers.Resources, v1alpha1.ResourcesSpec{}) {
		applied.Workers.Resources = nil
	}
	return applied, nil
}
