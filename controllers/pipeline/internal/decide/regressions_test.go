package decide

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
)

// TestLanesOfAdoptedWorkers: workers of a release without revisions run in eight lanes (or: somebody deleted the revisions): the planner has to know.
func TestLanesOfAdoptedWorkers(t *testing.T) {
	got := LanesOf(map[string]Running{"obs-validate": {
		Deployment: &appsv1.Deployment{},
		ConfigMap:  &corev1.ConfigMap{Data: map[string]string{revision.ConfigKey: `{"lanes":8,"inputs":[{"stream":"A","durable":"a_lane"}]}`}},
	}})
	if got["obs-validate"] != 8 {
		t.Errorf("got %v: the change of lanes is not refused, and the stage begins again at the oldest stored event", got)
	}
}

// TestAcceptedWithoutRevision: an attached Stage is edited while its Pipeline is refused: what it runs is not what it says.
func TestAcceptedWithoutRevision(t *testing.T) {
	s := snap(t, pipeline(), v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive", Generation: 2},
		Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{From: []string{"nobody"}}},
	})
	s.Resolved = graph.Resolved{Errors: field.ErrorList{field.Invalid(field.NewPath("spec"), "x", "no")}}
	s.Running = map[string]Running{"archive": {History: revision.History{{Number: 1, Marks: revision.Marks{Manifest: "1/1/"}}}}}
	in := Decide(s, "", settings)
	if v := in.Accepted[0].Verdict; v.Status == metav1.ConditionTrue {
		t.Errorf("generation 2, which nothing has compiled, is %s: %s", v.Reason, v.Message)
	}
}

// TestAcceptedBeforeRevision: a Stage whose new spec is compiled in this pass is accepted in the next one. Its controller may else see that before
// it sees the revision, and say Ready of a spec that does not run.
func TestAcceptedBeforeRevision(t *testing.T) {
	s := snap(t, pipeline(), v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive", UID: "archive", Generation: 2},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{
			From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{},
		}},
	})
	s.Running = map[string]Running{"archive": {History: revision.History{{Number: 1, Marks: revision.Marks{Manifest: "1/1/"}}}}}
	in := Decide(s, "", settings)
	if len(in.Revisions) != 1 {
		t.Fatal("no revision")
	}
	if len(in.Accepted) > 0 {
		t.Errorf("accepted while revision %d is yet to be written", in.Revisions[0].Step.Write[0].Number)
	}
}
