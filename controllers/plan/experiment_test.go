package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestExperiment: variants are ports in one stream, with all lanes, and a variant of no weight keeps its port.
func TestExperiment(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: check, from: [ingress], validate: {}}
- {name: ab, from: [check], experiment: {key: event.subject, variants: [{name: control, weight: 9}, {name: idle, weight: 0}]}}
- {name: watch, from: [ab/idle], analyze: {trend: {}}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	ab, watch := p.Stages[1], p.Stages[2]
	want := &config.Experiment{Mode: config.ExperimentSplit, Key: "event.subject", Variants: []config.ExperimentVariant{{Name: "control", Weight: 9}, {Name: "idle"}}}
	if diff := cmp.Diff(want, ab.Config.Experiment); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
	if ab.Config.Outputs["control"].Stream != ab.Config.Outputs["idle"].Stream || watch.Lanes != p.Partitions || watch.Consumers[2].FilterSubject != "default.p.ab.idle.2" {
		t.Errorf("outputs %+v, and stage watch reads %+v", ab.Config.Outputs, watch.Consumers[2])
	}
}

func TestExperimentThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"no weight, a key that is no text": {
			`{key: event.severity, variants: [{name: a, weight: 0}, {name: b, weight: 0}]}`,
			[]string{
				`spec.stages[0].experiment.key: Invalid value: "event.severity": yields int, must yield string`,
				`spec.stages[0].experiment.variants: Invalid value: 2: at least one weight must not be 0`,
			},
		},
		"a variant that is a port of every stage": {
			`{variants: [{name: a, weight: 1}, {name: dead-letter, weight: 1}]}`,
			[]string{`spec.stages[0].experiment.variants[1].name: Invalid value: "dead-letter": is the name of a port that stages have anyway: choose another`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := planned(t, `stages: [{name: t, from: [ingress], experiment: `+tc.spec+`}]`, func(*config.Traits) {})
			if !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
