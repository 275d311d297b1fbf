package operator_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// kstatus computes what generic tools (Helm --wait, Flux, Argo CD, kubectl wait) conclude
// from an object, by the rules of sigs.k8s.io/cli-utils/pkg/kstatus/status.
func kstatus(object client.Object, observed int64) string {
	conditions := conditionsOf(object)
	switch {
	case !object.GetDeletionTimestamp().IsZero():
		return "Terminating"
	case observed != object.GetGeneration():
		return "InProgress"
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling):
		return "InProgress"
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return "Failed"
	}
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return "InProgress"
	}
	return "Current"
}

func TestKstatus(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.small()
	p.Spec.Suspend = true
	x.create(p)
	expect := func(want string) {
		t.Helper()
		x.eventually(func() error {
			x.get(p)
			if got := kstatus(p, p.Status.ObservedGeneration); got != want {
				return fmt.Errorf("Pipeline: got %s, want %s:%s", got, want, describe(p.Status.Conditions))
			}
			return nil
		})
	}
	expect("Current") // suspended is as wanted
	s := x.stage("obs-validate")
	if got := kstatus(s, s.Status.ObservedGeneration); got != "Current" {
		t.Errorf("Stage: got %s, want Current:%s", got, describe(s.Status.Conditions))
	}
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Suspend = false
		p.Spec.Stages[0].Workers.Image = "nobody/knows:this"
	})
	expect("InProgress") // the image cannot be pulled: Kubernetes goes on trying
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[0].Workers.Image = ""
		p.Spec.Stages = append(p.Spec.Stages,
			v1alpha1.PipelineStage{Name: "a", StageNode: x.attached("", "b").Spec.StageNode},
			v1alpha1.PipelineStage{Name: "b", StageNode: x.attached("", "a").Spec.StageNode})
	})
	expect("Failed") // a person has to act
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages = p.Spec.Stages[:1] })
	expect("Current")
	// While both are there, tools would contradict each other.
	if hasCondition(p.Status.Conditions, v1alpha1.ConditionReconciling) || hasCondition(p.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("a finished Pipeline still works or stalls:%s", describe(p.Status.Conditions))
	}
}
