package replay

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/view"
)

// find returns the node of a stage of a pipeline.
func find(p *v1alpha1.Pipeline, attached []v1alpha1.Stage, name string) (v1alpha1.StageNode, error) {
	var names []string
	for i := range p.Spec.Stages {
		if p.Spec.Stages[i].Name == name {
			return p.Spec.Stages[i].StageNode, nil
		}
		names = append(names, p.Spec.Stages[i].Name)
	}
	for i := range attached {
		if graph.Name(&attached[i]) == name {
			return attached[i].Spec.StageNode, nil
		}
		names = append(names, graph.Name(&attached[i]))
	}
	return v1alpha1.StageNode{}, fmt.Errorf("stage %q of pipeline %s/%s: %w: there are %s", name, p.Namespace, p.Name, view.ErrNotFound, strings.Join(names, ", "))
}

// effects says what a stage does outside of the pipeline; empty = nothing.
func effects(n *v1alpha1.StageNode) string {
	switch {
	case n.Sink != nil:
		return "writes its events outside of the pipeline"
	case n.Gather != nil:
		return "asks its responders"
	}
	return ""
}

// bounds are the times between which input is processed again; to is zero where there is no end.
type bounds struct{ from, to time.Time }

// made is the Stage that processes the input of a node again.
func made(pipeline view.Name, name string, node *v1alpha1.StageNode, b bounds) *v1alpha1.Stage {
	s := &v1alpha1.Stage{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Stage"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pipeline.Namespace, Name: name},
		Spec: v1alpha1.StageSpec{
			PipelineRef: v1alpha1.PipelineRef{Name: pipeline.Name}, StartTime: &metav1.Time{Time: b.from}, StageNode: *node.DeepCopy(),
		},
	}
	if !b.to.IsZero() {
		s.Spec.EndTime = &metav1.Time{Time: b.to}
	}
	// Its stream and its workers are its own.
	s.Spec.Output, s.Spec.Placement, s.Spec.Suspend = v1alpha1.PortSpec{}, nil, false
	return s
}

// named is the name of a replay that no other one has: a second one of the same name would find its events stored already.
func named(stage string, now time.Time) string {
	end := "-replay-" + now.UTC().Format("20060102-150405")
	return stage[:min(len(stage), v1alpha1.MaxNameLength-len(end))] + end
}
