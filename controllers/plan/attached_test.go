package plan

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// TestAttachedStagesAreBounded: one user must not keep the operator planning. Those that were there first stay.
func TestAttachedStagesAreBounded(t *testing.T) {
	in := Input{DefaultNATSURL: "nats://nats:4222", Pipeline: &v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs"},
		Spec: v1alpha1.PipelineSpec{
			Ingress: v1alpha1.IngressSpec{Subject: "raw"}, DeadLetters: v1alpha1.DeadLettersSpec{Subject: "dead-letter"},
			Stages: []v1alpha1.PipelineStage{{Name: "validate", StageNode: v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{}}}},
		},
	}}
	for i := range MaxAttached {
		in.Stages = append(in.Stages, v1alpha1.Stage{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d", i)},
			Spec: v1alpha1.StageSpec{
				PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{From: []string{"validate"}, Validate: &v1alpha1.ValidateSpec{}},
			},
		})
	}
	if _, errs := Compute(in); len(errs) > 0 {
		t.Fatalf("%d attached stages: %v", len(in.Stages), errs)
	}
	in.Stages = append(in.Stages, in.Stages[0])
	in.Stages[MaxAttached].Name = "last"
	_, errs := Compute(in)
	if want := "stages[last].spec.pipelineRef"; len(errs) != 1 || errs[0].Field != want || !strings.Contains(errs[0].Error(), "256 attached Stages") {
		t.Errorf("got %v, want a refusal of %s", errs, want)
	}
}
