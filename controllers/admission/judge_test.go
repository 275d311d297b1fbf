package admission

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
)

func pipeline(stages ...v1alpha1.PipelineStage) *v1alpha1.Pipeline {
	return &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs"}, Spec: v1alpha1.PipelineSpec{Stages: stages}}
}

func validates(expression string, from ...string) v1alpha1.StageNode {
	node := v1alpha1.StageNode{From: from, Validate: &v1alpha1.ValidateSpec{}}
	if expression != "" {
		node.Validate.Rules = []v1alpha1.ValidateRule{{Expression: expression, Message: "x"}}
	}
	return node
}

func attached(name string, node v1alpha1.StageNode) *v1alpha1.Stage {
	return &v1alpha1.Stage{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, StageNode: node},
	}
}

// ran is the Stage of a stage that runs in so many lanes.
func ran(name string, lanes int32, node v1alpha1.StageNode) v1alpha1.Stage {
	s := *attached("obs-"+name, node)
	s.Spec.Name, s.Status.Consumers = name, []v1alpha1.ConsumerStatus{{Stream: "SHOP_OBS_CHECK", Name: "shop-obs-more_lane", Lanes: lanes}}
	return s
}

func TestJudge(t *testing.T) {
	const server = "nats://nats:4222"
	check := v1alpha1.PipelineStage{Name: "check", StageNode: validates("", "ingress")}
	tests := map[string]struct {
		got verdict
		// refused and warned are parts of the one refusal or warning; empty = none.
		refused, warned string
	}{
		"fits":       {got: judgePipeline(pipeline(check), nil, nil, server)},
		"expression": {got: judgePipeline(pipeline(v1alpha1.PipelineStage{Name: "check", StageNode: validates("event.id ==", "ingress")}), nil, nil, server), refused: "spec.stages[0].validate.rules[0].expression"},
		"dear": {
			got:    judgePipeline(pipeline(v1alpha1.PipelineStage{Name: "check", StageNode: validates("event.attributes.all(k, event.attributes.all(l, k != '' && l != ''))", "ingress")}), nil, nil, server),
			warned: "spec.stages[0].validate.rules[0].expression: may take ",
		},
		"Stage, dear": {got: judgeStage(attached("tap", validates("event.attributes.all(k, event.attributes.all(l, k != '' && l != ''))", "check")), pipeline(check), nil, server), warned: "spec.validate.rules[0].expression: may take "},
		"Pipeline of a Stage that is dear": {
			got: judgeStage(attached("tap", validates("", "check")), pipeline(v1alpha1.PipelineStage{Name: "check", StageNode: validates("event.attributes.all(k, event.attributes.all(l, k != '' && l != ''))", "ingress")}), nil, server),
		},
		"reads itself":               {got: judgePipeline(pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "more")}), nil, nil, server), refused: "cannot read itself"},
		"reads what is not there":    {got: judgePipeline(pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "chek")}), nil, nil, server), warned: `there is no stage "chek"`},
		"no NATS server":             {got: judgePipeline(pipeline(check), nil, nil, ""), refused: "spec.nats.url"},
		"Stage fits":                 {got: judgeStage(attached("tap", validates("", "check")), pipeline(check), nil, server)},
		"Stage without its Pipeline": {got: judgeStage(attached("tap", validates("", "check")), nil, nil, server)},
		"Stage, expression, without its Pipeline": {
			got: judgeStage(attached("tap", validates("event.", "check")), nil, nil, server), refused: "spec.validate.rules[0].expression",
		},
		"Stage that another Stage makes wrong": {
			got: judgeStage(attached("tap", validates("", "check")), pipeline(check), []v1alpha1.Stage{*attached("other", validates("event.", "check"))}, server),
		},
		"Stages in a cycle": {
			got: judgeStage(attached("tap", validates("", "check", "other")), pipeline(check), []v1alpha1.Stage{*attached("other", validates("", "tap"))}, server), refused: "closes the cycle",
		},
		"other lanes": {
			got: judgePipeline(pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "check", "check/dead-letter")}), pipeline(check),
				[]v1alpha1.Stage{ran("more", 8, validates("", "check"))}, server),
			refused: `spec.stages[1].from: Invalid value: ["check","check/dead-letter"]: changes the number of lanes of stage "more" from 8 to 1`,
		},
		"other lanes, undone": {
			got: judgePipeline(pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "check")}),
				pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "check", "check/dead-letter")}),
				[]v1alpha1.Stage{ran("more", 8, validates("", "check", "check/dead-letter"))}, server),
		},
		"other lanes of another stage": {
			got: judgePipeline(pipeline(check, v1alpha1.PipelineStage{Name: "more", StageNode: validates("", "check/dead-letter")}), pipeline(check),
				[]v1alpha1.Stage{ran("less", 8, validates("", "check"))}, server),
		},
		"Stage, other lanes": {
			got:     judgeStage(new(ran("more", 1, validates("", "check"))), pipeline(check), nil, server),
			refused: `spec.from: Invalid value: ["check"]: changes the number of lanes of stage "more" from 1 to 8`,
		},
		"Stage, in place of itself": {
			got: judgeStage(attached("tap", validates("", "check")), pipeline(check), []v1alpha1.Stage{*attached("tap", validates("event.", "check"))}, server),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := one(tc.got.refusals); !strings.Contains(got, tc.refused) || (tc.refused == "") != (got == "") {
				t.Errorf("refusals: got %q, want %q", got, tc.refused)
			}
			if got := strings.Join(tc.got.warnings, "; "); !strings.Contains(got, tc.warned) || (tc.warned == "") != (got == "") {
				t.Errorf("warnings: got %q, want %q", got, tc.warned)
			}
		})
	}
}

// one is the text of all refusals.
func one(errs field.ErrorList) string {
	if len(errs) == 0 {
		return ""
	}
	return errs.ToAggregate().Error()
}
