package decide

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	conditionsac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	stageac "millrace.dev/millrace/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
)

// childOf is the Stage of an entry of pipeline obs.
func childOf(name string) v1alpha1.Stage {
	return v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "obs-" + name, UID: "uid-of-" + "stage", Generation: 1,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "millrace.dev/v1alpha1", Kind: "Pipeline", Name: "obs", UID: "pipeline-uid", Controller: new(true),
			}},
		},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: name},
	}
}

// TestEachStageGetsARevision: once it exists; then only when something else comes out.
func TestEachStageGetsARevision(t *testing.T) {
	attached := v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive", UID: "archive", Generation: 1},
		Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: v1alpha1.StageNode{
			From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{},
		}},
	}
	s := snap(t, pipeline(), attached)
	s.Stages.Children = []v1alpha1.Stage{childOf("validate")} // correlate is being made
	in := Decide(s, "", settings)
	if len(in.Revisions) != 2 || len(in.Failed) > 0 {
		t.Fatalf("got %d revisions and %v, want one for validate and one for archive", len(in.Revisions), in.Failed)
	}
	s.Running = map[string]Running{}
	for _, c := range in.Revisions {
		if len(c.Step.Write) != 1 || c.Step.Write[0].Number != 1 {
			t.Fatalf("%s: got %+v", c.Name, c.Step)
		}
		object, err := revision.Object(c.Stage, nil, 1, c.Step.Write[0].Content, c.Step.Write[0].Marks)
		if err != nil {
			t.Fatal(err)
		}
		r, err := revision.Decode(object)
		if err != nil {
			t.Fatal(err)
		}
		s.Running[c.Stage.Name] = Running{History: revision.History{r}}
	}
	if in = Decide(s, "", settings); len(in.Revisions) > 0 {
		t.Errorf("a second look writes %d revisions", len(in.Revisions))
	}
	s.Pipeline.Spec.Stages[0].Validate.RequiredAttributes = []string{"id", "source"}
	next := snap(t, s.Pipeline, attached)
	next.Stages, next.Running = s.Stages, s.Running
	if in = Decide(next, "", settings); len(in.Revisions) != 1 || in.Revisions[0].Name != "validate" || in.Revisions[0].Step.Write[0].Number != 2 {
		t.Errorf("an edit of validate writes %+v", in.Revisions)
	}
	if got := LanesOf(s.Running); got["obs-validate"] != 1 || got["archive"] != 1 {
		t.Errorf("got lanes %v", got)
	}
	next.Running["obs-validate"] = Running{Unreadable: errors.New("of another release")}
	if in = Decide(next, "", settings); len(in.Failed) != 1 || len(in.Revisions) != 0 {
		t.Errorf("over revisions that it cannot read it writes %+v, and says %v", in.Revisions, in.Failed)
	}
}

// TestAcceptedOfStages: what is refused, and what runs on all the same.
func TestAcceptedOfStages(t *testing.T) {
	refused := field.ErrorList{field.Invalid(field.NewPath("spec", "stages").Index(0), "x", "no such function")}
	ran := map[string]Running{"obs-validate": {History: revision.History{{Number: 1}}}, "archive": {History: revision.History{{Number: 1, Marks: revision.Marks{Manifest: "0/1/"}}}}}
	for name, test := range map[string]struct {
		stage  v1alpha1.Stage
		change func(*Observed)
		want   metav1.ConditionStatus
		reason string
		says   string
	}{
		"a child": {childOf("validate"), nil, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "spec is valid"},
		"a child with standbys": {
			func() v1alpha1.Stage { s := childOf("validate"); s.Spec.Replicas = new(int32(4)); return s }(), nil,
			metav1.ConditionTrue, v1alpha1.ReasonAccepted, "spec is valid; of 4 workers 3 stand by: there are no more lanes than 1",
		},
		"a child that is not named any more": {childOf("gone"), nil, metav1.ConditionFalse, v1alpha1.ReasonProgressing, "Pipeline obs does not name"},
		"the Pipeline is refused, the stage runs": {
			childOf("validate"), func(s *Observed) { s.Resolved, s.Running = graph.Resolved{Errors: refused}, ran },
			metav1.ConditionTrue, v1alpha1.ReasonAccepted, "the stage runs on as it was accepted last: Pipeline obs is refused",
		},
		"the Pipeline is refused, the stage never ran": {
			childOf("validate"), func(s *Observed) { s.Resolved = graph.Resolved{Errors: refused} },
			metav1.ConditionFalse, v1alpha1.ReasonPipelineInvalid, "Pipeline obs is refused",
		},
		"an attached stage is refused": {
			v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive"}, Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}}},
			func(s *Observed) { s.Resolved.Refused = map[string]field.ErrorList{"archive": refused} },
			metav1.ConditionFalse, v1alpha1.ReasonInvalid, "spec.stages[0]: Invalid",
		},
		"an attached stage is refused, and runs": {
			v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "archive"}, Spec: v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}}},
			func(s *Observed) {
				s.Resolved.Refused, s.Running = map[string]field.ErrorList{"archive": refused}, ran
			},
			metav1.ConditionFalse, v1alpha1.ReasonInvalid, "it runs on as it was accepted last",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := snap(t, pipeline())
			test.stage.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionUnknown}}
			if graph.IsChild(&test.stage) {
				s.Stages.Children = []v1alpha1.Stage{test.stage}
			} else {
				s.Stages.Attached = []v1alpha1.Stage{test.stage}
			}
			if test.change != nil {
				test.change(s)
			}
			for _, c := range Decide(s, "", settings).Revisions { // as the next pass finds it
				object, err := revision.Object(c.Stage, nil, 1, c.Step.Write[0].Content, c.Step.Write[0].Marks)
				if err != nil {
					t.Fatal(err)
				}
				r, err := revision.Decode(object)
				if err != nil {
					t.Fatal(err)
				}
				s.Running = map[string]Running{c.Stage.Name: {History: revision.History{r}}}
			}
			in := Decide(s, "", settings)
			if len(in.Accepted) != 1 {
				t.Fatalf("got %d verdicts", len(in.Accepted))
			}
			got := in.Accepted[0].Verdict
			if got.Status != test.want || got.Reason != test.reason || !strings.Contains(got.Message, test.says) {
				t.Errorf("got %s %s: %s", got.Status, got.Reason, got.Message)
			}
			if blocked := got.Outlook == status.Blocked; blocked != (test.reason == v1alpha1.ReasonInvalid) {
				t.Errorf("a person has to act: %t", blocked)
			}
		})
	}
}

// TestBegin: Stages that were made in a pass get their first revisions in it. A Stage that has one and no status yet says itself that it is accepted.
func TestBegin(t *testing.T) {
	s := snap(t, pipeline())
	made, failed := Begin(s, []v1alpha1.Stage{childOf("validate")}, settings)
	if len(failed) > 0 || len(made) != 1 || len(made[0].Step.Write) != 1 || made[0].Step.Write[0].Number != 1 {
		t.Fatalf("%+v %v", made, failed)
	}
	object, err := revision.Object(made[0].Stage, nil, 1, made[0].Step.Write[0].Content, made[0].Step.Write[0].Marks)
	if err != nil {
		t.Fatal(err)
	}
	first, err := revision.Decode(object)
	if err != nil {
		t.Fatal(err)
	}
	s.Stages.Children = []v1alpha1.Stage{childOf("validate")}
	s.Running = map[string]Running{"obs-validate": {History: revision.History{first}}}
	if in := Decide(s, "", settings); len(in.Accepted) != 0 || len(in.Revisions) != 0 {
		t.Errorf("%+v", in)
	}
	s.Now = s.Now.Add(time.Minute) // the Stage controller has trouble
	if in := Decide(s, "", settings); len(in.Accepted) != 1 || in.Accepted[0].Verdict.Status != metav1.ConditionTrue {
		t.Errorf("%+v", in.Accepted)
	}
}

// TestMade: what an apply found there before is not new, whatever the cache shows.
func TestMade(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*stageac.StageApplyConfiguration)
		want   bool
	}{
		"new":                  {func(*stageac.StageApplyConfiguration) {}, true},
		"not answered":         {func(s *stageac.StageApplyConfiguration) { s.UID = nil }, false},
		"was changed by apply": {func(s *stageac.StageApplyConfiguration) { s.WithGeneration(2) }, false},
		"has a status": {func(s *stageac.StageApplyConfiguration) {
			s.WithStatus(stageac.StageStatus().WithConditions(conditionsac.Condition().WithType("Ready")))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			applied, err := Child(pipeline(), pipeline().Spec.Stages[0])
			if err != nil {
				t.Fatal(err)
			}
			applied.WithUID("u").WithGeneration(1)
			tc.change(applied)
			got, err := Made(applied)
			if err != nil || (got != nil) != tc.want {
				t.Errorf("%+v %v", got, err)
			}
			if got != nil && (got.Name != *applied.Name || !graph.IsChildOf(got, pipeline())) {
				t.Errorf("%+v", got)
			}
		})
	}
}
