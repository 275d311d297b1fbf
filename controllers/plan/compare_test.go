package plan

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestCompare: one lane reads all variants, and the first one is the control.
func TestCompare(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: check, from: [ingress], validate: {}}
- {name: ab, from: [check], experiment: {variants: [{name: a, weight: 1}, {name: b, weight: 1}]}}
- {name: verdict, from: [ab/a, ab/b], compare: {outcome: event.severity > 9}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	verdict := p.Stages[2]
	want := &config.Compare{
		Control: "ab/a", Mode: config.ExperimentSplit, Outcome: "event.severity > 9", Interval: config.Duration(5 * time.Minute), EffectPercent: 10, FalseAlarmPercent: 5,
	}
	if diff := cmp.Diff(want, verdict.Config.Compare); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
	if verdict.Lanes != 1 || len(verdict.Config.Inputs) != 2 || verdict.Config.Inputs[0].From != "ab/a" {
		t.Errorf("%d lanes, inputs %+v", verdict.Lanes, verdict.Config.Inputs)
	}
}

func TestCompareThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		stage string
		want  []string
	}{
		"one variant": {
			`{name: v, from: [check], compare: {outcome: "true"}}`,
			[]string{`spec.stages[1].compare: Invalid value: 1: the stage has 1 entries in from: it compares 2 to 16 variants, one for each`},
		},
		"a control that is no input, an outcome that is no bool": {
			`{name: v, from: [check, ingress], compare: {control: a, outcome: event.id}}`,
			[]string{
				`spec.stages[1].compare.control: Unsupported value: "a": supported values: "check", "ingress"`,
				`spec.stages[1].compare.outcome: Invalid value: "event.id": yields string, must yield bool`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := planned(t, `stages: [{name: check, from: [ingress], validate: {}}, `+tc.stage+`]`, func(*config.Traits) {})
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
