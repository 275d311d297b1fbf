package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// planned plans a pipeline default/p in which enrich is a kind that has another row in the table of kinds.
func planned(t *testing.T, spec string, row func(*config.Traits)) (*Plan, []string) {
	t.Helper()
	p := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	c := newComputation(Input{Pipeline: p, DefaultNATSURL: "nats://nats:4222"})
	c.traits = func(k config.Kind) config.Traits {
		traits := k.Traits()
		if k == config.KindEnrich {
			row(&traits)
		}
		return traits
	}
	plan, errs := c.compute()
	var problems []string
	for _, err := range errs {
		problems = append(problems, err.Error())
	}
	return plan, problems
}

func withoutOut(t *config.Traits) { t.NoOut = "keeps its events outside of the pipeline" }

// TestKindWithoutPortOut: a kind may have no port out.
func TestKindWithoutPortOut(t *testing.T) {
	p, problems := planned(t, `stages:
- {name: check, from: [ingress], validate: {}}
- {name: keep, from: [check], enrich: {}}
- {name: refused, from: [keep/dead-letter], validate: {}}`, withoutOut)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var ports []string
	for _, s := range p.Streams {
		ports = append(ports, s.Ports...)
	}
	want := []string{"ingress", "check/out", "refused/out", "check/dead-letter", "keep/dead-letter", "refused/dead-letter"}
	if diff := cmp.Diff(want, ports); diff != "" {
		t.Errorf("what fills the streams (-want +got)\n%s", diff)
	}
	keep := p.Stages[1]
	var outputs []string
	for port := range keep.Config.Outputs {
		outputs = append(outputs, port)
	}
	if keep.Name != "keep" || !slices.Equal(outputs, []string{config.PortDeadLetter}) {
		t.Errorf("outputs of stage %s: got %q, want dead-letter alone", keep.Name, outputs)
	}
	if keep.Lanes != p.Partitions {
		t.Errorf("lanes: got %d, want %d", keep.Lanes, p.Partitions)
	}
	// Its workers may write dead letters and nothing else.
	for _, u := range Permissions(p) {
		if u.Name == "default.p.keep" && slices.Contains(u.Publish, "default.p.keep.*") {
			t.Errorf("the user may publish events: %q", u.Publish)
		}
	}
}

// TestKindWithoutPortOutAlone: a pipeline may end in such a stage and have no other one.
func TestKindWithoutPortOutAlone(t *testing.T) {
	p, problems := planned(t, `stages: [{name: keep, from: [ingress], enrich: {}}]`, withoutOut)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := len(p.Streams); got != 2 {
		t.Errorf("got %d streams, want ingress and dead letters", got)
	}
}

// TestPortOutThatIsNotThere: nobody reads it, and nobody names its stream.
func TestPortOutThatIsNotThere(t *testing.T) {
	const why = `stage "keep" has no port out: enrich keeps its events outside of the pipeline. Read what it reads, or one of its ports: dead-letter`
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"read by the name of the stage": {
			`stages: [{name: keep, from: [ingress], enrich: {}}, {name: b, from: [keep], validate: {}}]`,
			[]string{`spec.stages[1].from[0]: Invalid value: "keep": ` + why},
		},
		"read by its name": {
			`stages: [{name: keep, from: [ingress], enrich: {}}, {name: b, from: [keep/out], validate: {}}]`,
			[]string{`spec.stages[1].from[0]: Invalid value: "keep/out": ` + why},
		},
		"a stream for it": {
			`stages: [{name: keep, from: [ingress], output: {stream: KEPT}, enrich: {}}]`,
			[]string{`spec.stages[0].output: Forbidden: the stage has no port out: enrich keeps its events outside of the pipeline. Leave output out`},
		},
		"another port that it does not have": {
			`stages: [{name: keep, from: [ingress], enrich: {}}, {name: b, from: [keep/insights], validate: {}}]`,
			[]string{`spec.stages[1].from[0]: Invalid value: "keep/insights": stage "keep" (enrich) has no port "insights"; its ports are dead-letter`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := planned(t, tc.spec, withoutOut); !slices.Equal(got, tc.want) {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
		})
	}
}
