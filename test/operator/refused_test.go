package operator_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// TestRefusedDeploymentIsStalled: a Deployment that the API server refuses needs a person, who is told what it said. The workers that run stay.
func TestRefusedDeploymentIsStalled(t *testing.T) {
	x := newTenant(t)
	p := x.start(x.small())
	stage := x.stage("obs-validate")
	running := x.deployment("obs-validate")
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[0].Workers.NodeSelector = map[string]string{"pool": "no label!"}
	})
	c := x.condition(stage, v1alpha1.ConditionWorkersAvailable, metav1.ConditionFalse, v1alpha1.ReasonObjectRefused)
	if !strings.Contains(c.Message, "nodeSelector") {
		t.Errorf("got %q, want what is wrong", c.Message)
	}
	x.condition(stage, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonObjectRefused)
	if got := x.deployment("obs-validate"); got.UID != running.UID || got.Generation != running.Generation {
		t.Error("the Deployment changed")
	}
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[0].Workers.NodeSelector = nil })
	x.ready(p, stage)
}

// TestForeignDeployment: one of the stage's name that somebody else made is left alone, and told. When it is gone, the stage gets its own.
func TestForeignDeployment(t *testing.T) {
	x := newTenant(t)
	foreign := &appsv1.Deployment{
		ObjectMeta: x.named("obs-validate"),
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "mine"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "mine"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "mine", Image: "mine.example/mine:1"}}},
			},
		},
	}
	x.create(foreign)
	p := x.small()
	x.create(p)
	stage := &v1alpha1.Stage{ObjectMeta: x.named("obs-validate")}
	c := x.condition(stage, v1alpha1.ConditionWorkersAvailable, metav1.ConditionFalse, v1alpha1.ReasonNotOwned)
	if !strings.Contains(c.Message, "Deployment obs-validate belongs to nobody that it names") {
		t.Errorf("got %q", c.Message)
	}
	if got := x.deployment("obs-validate"); got.Spec.Template.Spec.Containers[0].Image != "mine.example/mine:1" || len(got.OwnerReferences) > 0 {
		t.Errorf("the Deployment changed: %+v", got.Spec.Template.Spec)
	}
	x.delete(foreign)
	x.ready(p, stage)
}

// TestDeletedRevisionsComeBack: somebody deletes the revisions of a stage that runs. Its workers are adopted, and go on.
func TestDeletedRevisionsComeBack(t *testing.T) {
	x := newTenant(t)
	p := x.start(x.small())
	running := x.deployment("obs-validate")
	x.delete(&appsv1.ControllerRevision{ObjectMeta: x.named(x.stage("obs-validate").Status.Revision)})
	before := x.stage("obs-validate").Status.Revision
	x.eventually(func() error {
		s := x.stage("obs-validate")
		return x.client.Get(t.Context(), client.ObjectKey{Namespace: x.ns, Name: s.Status.Revision}, &appsv1.ControllerRevision{})
	})
	x.ready(p, x.stage("obs-validate"))
	if got := x.deployment("obs-validate"); got.Generation != running.Generation {
		t.Errorf("the workers are replaced (revision %s, then %s)", before, x.stage("obs-validate").Status.Revision)
	}
}
