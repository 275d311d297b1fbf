package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// input makes a pipeline default/p of its spec, and attached stages of name: spec.
func input(t *testing.T, spec string, attached map[string]string) plan.Input {
	t.Helper()
	in := plan.Input{
		DefaultNATSURL: "nats://nats:4222",
		Pipeline:       &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}},
	}
	unmarshal(t, spec, &in.Pipeline.Spec)
	for name, text := range attached {
		s := v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		unmarshal(t, text, &s.Spec)
		in.Stages = append(in.Stages, s)
	}
	return in
}

func unmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := map[string]struct {
		spec     string
		attached map[string]string
		edit     func(*plan.Input)
		want     []string
	}{
		"duplicate name": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: a, from: [ingress], validate: {}}]`,
			want: []string{`spec.stages[1].name: Duplicate value: "a": the pipeline has a stage of this name`},
		},
		"attached stage of an inline name": {
			spec:     `stages: [{name: a, from: [ingress], validate: {}}]`,
			attached: map[string]string{"x": `{pipelineRef: {name: p}, name: a, from: [ingress], validate: {}}`},
			want:     []string{`stages[x].spec.name: Duplicate value: "a": the pipeline has a stage of this name`},
		},
		"attached stage named by its object": {
			spec:     `stages: [{name: a, from: [ingress], validate: {}}]`,
			attached: map[string]string{"a": `{pipelineRef: {name: p}, from: [ingress], validate: {}}`},
			want:     []string{`stages[a].metadata.name: Duplicate value: "a": the pipeline has a stage of this name`},
		},
		"attached object named like that of an inline stage": {
			spec:     `stages: [{name: a, from: [ingress], validate: {}}]`,
			attached: map[string]string{"p-a": `{pipelineRef: {name: p}, name: z, from: [a], validate: {}}`},
			want:     []string{`stages[p-a].metadata.name: Duplicate value: "p-a": is the name of the Stage object of stage "a" of the pipeline: rename one of them`},
		},
		"attached object and stage named like an inline stage": {
			spec:     `stages: [{name: a, from: [ingress], validate: {}}]`,
			attached: map[string]string{"p-a": `{pipelineRef: {name: p}, name: a, from: [ingress], validate: {}}`},
			want: []string{
				`stages[p-a].spec.name: Duplicate value: "a": the pipeline has a stage of this name`,
				`stages[p-a].metadata.name: Duplicate value: "p-a": is the name of the Stage object of stage "a" of the pipeline: rename one of them`,
			},
		},
		"name missing": {
			spec: `stages: [{from: [ingress], validate: {}}]`,
			want: []string{`spec.stages[0].name: Required value: name the stage`},
		},
		"named ingress": {
			spec: `stages: [{name: ingress, from: [ingress], validate: {}}]`,
			want: []string{`spec.stages[0].name: Invalid value: "ingress": is the name of the pipeline's input: choose another`},
		},
		"name that is no label": {
			spec: `stages: [{name: A_b, from: [ingress], validate: {}}]`,
			want: []string{`spec.stages[0].name: Invalid value: "A_b": must be at most 63 lower-case letters, digits and -, and begin and end with a letter or digit`},
		},
		"name of the child too long": {
			spec: `stages: [{name: ` + long + `, from: [ingress], validate: {}}]`,
			want: []string{`spec.stages[0].name: Invalid value: "` + long + `": the Stage object p-` + long + ` would have a name of 65 characters, at most 63: shorten the name of the pipeline or of the stage`},
		},
		"name of the pipeline": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}]`,
			edit: func(in *plan.Input) { in.Pipeline.Name = "a.b" },
			want: []string{`metadata.name: Invalid value: "a.b": must be at most 63 lower-case letters, digits and -, and begin and end with a letter or digit: it becomes part of subjects, streams and labels`},
		},
		"unknown stage": {
			spec: `stages: [{name: a, from: [ingress, b, c/dead-letter], validate: {}}]`,
			want: []string{
				`spec.stages[0].from[1]: Not found: "b": there is no stage "b"; stages are a`,
				`spec.stages[0].from[2]: Not found: "c/dead-letter": there is no stage "c"; stages are a`,
			},
		},
		"unknown port": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a/left], validate: {}}]`,
			want: []string{`spec.stages[1].from[0]: Invalid value: "a/left": stage "a" (validate) has no port "left"; its ports are out, dead-letter`},
		},
		"insights of enrich": {
			spec: `stages: [{name: a, from: [ingress], enrich: {trace: {}}}, {name: b, from: [a/insights], validate: {}}]`,
			want: []string{`spec.stages[1].from[0]: Invalid value: "a/insights": stage "a" (enrich) has no port "insights"; its ports are out, dead-letter`},
		},
		"port of the ingress": {
			spec: `stages: [{name: a, from: [ingress, ingress/out], validate: {}}]`,
			want: []string{`spec.stages[0].from[1]: Not found: "ingress/out": there is no stage "ingress"; stages are a`},
		},
		"one port twice": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a, a/out], validate: {}}]`,
			want: []string{`spec.stages[1].from[1]: Duplicate value: "a/out": the stage reads this port already`},
		},
		"reads itself": {
			spec: `stages: [{name: a, from: [ingress, a/dead-letter], validate: {}}]`,
			want: []string{`spec.stages[0].from[1]: Invalid value: "a/dead-letter": a stage cannot read itself`},
		},
		"reads nothing": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [], validate: {}}]`,
			want: []string{`spec.stages[1].from: Required value: name what the stage reads: ingress, a stage, or <stage>/<port>`},
		},
		"nobody reads the ingress, and a cycle of two": {
			spec: `stages: [{name: a, from: [b], validate: {}}, {name: b, from: [a], validate: {}}]`,
			want: []string{
				`spec.stages: Required value: no stage reads the ingress: give one from: [ingress]`,
				`spec.stages[1].from[0]: Invalid value: "a": closes the cycle a -> b -> a: an event would never leave it`,
			},
		},
		"cycle of three in the direction of the events": {
			spec: `stages: [{name: a, from: [ingress, c], validate: {}}, {name: b, from: [a], validate: {}}, {name: c, from: [b], validate: {}}]`,
			want: []string{`spec.stages[1].from[0]: Invalid value: "a": closes the cycle a -> b -> c -> a: an event would never leave it`},
		},
		"cycle through dead letters": {
			spec: `stages: [{name: a, from: [ingress, fix], validate: {}}, {name: fix, from: [a/dead-letter], validate: {}}]`,
			want: []string{`spec.stages[1].from[0]: Invalid value: "a/dead-letter": closes the cycle a -> fix -> a: an event would never leave it`},
		},
		"cycle through an attached stage": {
			spec:     `stages: [{name: a, from: [ingress, x], validate: {}}]`,
			attached: map[string]string{"x": `{pipelineRef: {name: p}, from: [a], validate: {}}`},
			want:     []string{`stages[x].spec.from[0]: Invalid value: "a": closes the cycle a -> x -> a: an event would never leave it`},
		},
		"no kind": {
			spec: `stages: [{name: a, from: [ingress]}]`,
			want: []string{"spec.stages[0]: Required value: set one of " + config.KindNames()},
		},
		"two kinds": {
			spec: `stages: [{name: a, from: [ingress], validate: {}, analyze: {trend: {}}}]`,
			want: []string{`spec.stages[0]: Forbidden: has several kinds (validate, analyze): make a stage of each`},
		},
		"stream named like the leases": {
			spec: `stages: [{name: a, from: [ingress], output: {stream: KV_default_p}, validate: {}}]`,
			want: []string{`spec.stages[0].output.stream: Duplicate value: "KV_default_p": the stream of the leases has this name`},
		},
		"placed with nobody": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], placement: {with: x}, validate: {}}]`,
			want: []string{`spec.stages[1].placement.with: Not found: "x": there is no stage "x"; stages are a, b`},
		},
		"placed with each other": {
			spec: `stages: [{name: a, from: [ingress], placement: {with: b}, validate: {}}, {name: b, from: [a], placement: {with: a}, validate: {}}]`,
			want: []string{
				`spec.stages[0].placement.with: Invalid value: "b": leads back to the stage itself: one of them needs workers of its own`,
				`spec.stages[1].placement.with: Invalid value: "a": leads back to the stage itself: one of them needs workers of its own`,
			},
		},
		"placed with a stage that it does not read": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], validate: {}}, {name: c, from: [b], placement: {with: a}, validate: {}}]`,
			want: []string{`spec.stages[2].placement.with: Invalid value: "a": events are handed over in memory, so from must be port out of one stage that runs in the workers of "a", and nothing else`},
		},
		"placed with two of its inputs": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], placement: {with: a}, validate: {}}, {name: c, from: [a, b], placement: {with: a}, validate: {}}]`,
			want: []string{`spec.stages[2].placement.with: Invalid value: "a": events are handed over in memory, so from must be port out of one stage that runs in the workers of "a", and nothing else`},
		},
		"placed behind dead letters, beside the ingress": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a/dead-letter], placement: {with: a}, validate: {}}, {name: c, from: [ingress], placement: {with: a}, validate: {}}]`,
			want: []string{
				`spec.stages[1].placement.with: Invalid value: "a": events are handed over in memory, so from must be port out of one stage that runs in the workers of "a", and nothing else`,
				`spec.stages[2].placement.with: Invalid value: "a": events are handed over in memory, so from must be port out of one stage that runs in the workers of "a", and nothing else`,
			},
		},
		"correlate placed with a stage of many lanes": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], validate: {}}, {name: c, from: [b], placement: {with: b}, correlate: {window: {}}}]`,
			want: []string{`spec.stages[2].placement.with: Invalid value: "b": correlate finds what belongs together over all keys, so one lane must see all events; ` +
				`"b" has 8 lanes, one for each partition, which different workers may have: leave placement out, or chain it to a stage that reads the ingress`},
		},
		"attached and placed with nobody": {
			spec:     `stages: [{name: a, from: [ingress], validate: {}}]`,
			attached: map[string]string{"x": `{pipelineRef: {name: p}, from: [a], placement: {with: b}, validate: {}}`},
			want:     []string{`stages[x].spec.placement.with: Not found: "b": there is no stage "b"; stages are a, x`},
		},
		"one stream twice": {
			spec: `{ingress: {stream: S}, stages: [{name: a, from: [ingress], output: {stream: S}, validate: {}}]}`,
			want: []string{`spec.stages[0].output.stream: Duplicate value: "S": the stream of ingress has this name too`},
		},
		"stream of a derived name": {
			spec: `{deadLetters: {stream: DEFAULT_P_A}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.deadLetters.stream: Duplicate value: "DEFAULT_P_A": the stream of a/out has this name too`},
		},
		"stage named like the ingress stream": {
			spec: `stages: [{name: raw, from: [ingress], validate: {}}]`,
			want: []string{
				`spec.stages[0].output.stream: Duplicate value: "DEFAULT_P_RAW": the stream of ingress has this name too`,
				`spec.stages[0].output.subject: Invalid value: "default.p.raw": default.p.raw.> overlaps default.p.raw.> of ingress: one event would be in two streams`,
			},
		},
		"subject below another": {
			spec: `{ingress: {subject: a}, stages: [{name: b, from: [ingress], output: {subject: a.b}, validate: {}}]}`,
			want: []string{`spec.stages[0].output.subject: Invalid value: "default.p.a.b": default.p.a.b.> overlaps default.p.a.> of ingress: one event would be in two streams`},
		},
		"insights below a stage": {
			spec: `{insights: {subjectPrefix: default.p.b}, stages: [{name: b, from: [ingress], analyze: {trend: {}}}]}`,
			want: []string{`spec.insights.subjectPrefix: Invalid value: "default.p.b": default.p.b.> overlaps default.p.b.> of b/out: one event would be in two streams`},
		},
		"subject prefix": {
			spec: `{subjectPrefix: "a..b", stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.subjectPrefix: Invalid value: "a..b": has an empty token: a dot stands between two tokens`},
		},
		"subject with wildcard": {
			spec: `{ingress: {subject: "raw.*"}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.ingress.subject: Invalid value: "default.p.raw.*": token "*" must be letters, digits, - and _, and begin with a letter or digit`},
		},
		"subject too long": {
			spec: `{ingress: {subject: ` + strings.Repeat("a", 250) + `}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.ingress.subject: Invalid value: "default.p.` + strings.Repeat("a", 250) + `": has 260 bytes, at most 255`},
		},
		"stream name": {
			spec: `{ingress: {stream: "a.b"}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.ingress.stream: Invalid value: "a.b": must be letters, digits, - and _, and begin with a letter or digit`},
		},
		"stream name too long": {
			spec: `{ingress: {stream: ` + strings.Repeat("a", 256) + `}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.ingress.stream: Invalid value: "` + strings.Repeat("a", 256) + `": has 256 bytes, NATS takes 255 at most`},
		},
		"consumer name too long": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}]`,
			edit: func(in *plan.Input) {
				in.Pipeline.Namespace = strings.Repeat("n", 252)
				in.Pipeline.Spec.SubjectPrefix = "p"
				in.Pipeline.Spec.Ingress.Stream, in.Pipeline.Spec.DeadLetters.Stream = "I", "D"
				in.Pipeline.Spec.Stages[0].Output.Stream = "O"
			},
			want: []string{
				`spec.subjectPrefix: Invalid value: "p": the stream "KV_` + strings.Repeat("n", 252) + `_p_p" of the leases has 259 bytes, NATS takes 255 at most`,
				`spec.stages[0].from[0]: Invalid value: "ingress": the consumer's name "` + strings.Repeat("n", 252) + `-p-a" has 256 bytes, NATS takes 255 at most`,
			},
		},
		"chained to lanes whose events have any key": {
			spec: `{ingress: {partitionBy: Subject}, stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], placement: {with: a}, enrich: {trace: {}}},
				{name: c, from: [b], placement: {with: a}, analyze: {trend: {}}}, {name: d, from: [b], placement: {with: a}, correlate: {window: {}}}]}`,
			want: []string{
				`spec.stages[3].placement.with: Invalid value: "a": correlate finds what belongs together over all keys, so one lane must see all events; "a" has 8 lanes, one for each partition, which different workers may have: leave placement out`,
				`spec.stages[2].placement.with: Invalid value: "a": analyze keeps a series in the lane of its key, and the lanes of "a" have events of any key: leave placement out`,
			},
		},
		"expressions": {
			spec: `stages: [{name: a, from: [ingress], validate: {rules: [{expression: "event.id != ''"}, {expression: "event.nope"}, {expression: "1 +"}, {expression: "event.id"}]}}]`,
			want: []string{
				`spec.stages[0].validate.rules[1].expression: Invalid value: "event.nope": column 6: undefined field 'nope'`,
				`spec.stages[0].validate.rules[2].expression: Invalid value: "1 +": column 4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}`,
				`spec.stages[0].validate.rules[3].expression: Invalid value: "event.id": yields string, must yield bool`,
			},
		},
		"threshold": {
			spec: `stages: [{name: a, from: [ingress], analyze: {anomaly: {threshold: high}}}]`,
			want: []string{`spec.stages[0].analyze.anomaly.threshold: Invalid value: "high": must be a decimal from 0 to 16`},
		},
		"what a model is given": {
			spec: `{stages: [{name: a, from: [ingress], analyze: {inference: {model: {name: m, format: Linear, configMapRef: {name: m, key: m}, sha256: a},
				when: event.severity, threshold: high, features: [{name: a, expression: event.nothing}, {name: b, expression: "[1]"}]}}}]}`,
			want: []string{
				`spec.stages[0].analyze.inference.when: Invalid value: "event.severity": yields int, must yield bool`,
				`spec.stages[0].analyze.inference.features[0].expression: Invalid value: "event.nothing": column 6: undefined field 'nothing'`,
				`spec.stages[0].analyze.inference.features[1].expression: Invalid value: "[1]": yields list(int), must yield a scalar`,
				`spec.stages[0].analyze.inference.threshold: Invalid value: "high": must be a decimal`,
			},
		},
		"max bytes that no stream can hold": {
			spec: `{streams: {maxBytes: "1e19"}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.streams.maxBytes: Invalid value: "10e18": must be at least 1Mi, below 8Ei`},
		},
		"domain": {
			spec: `{nats: {jetStreamDomain: "a.b"}, stages: [{name: a, from: [ingress], validate: {}}]}`,
			want: []string{`spec.nats.jetStreamDomain: Invalid value: "a.b": "a.b" is no JetStream domain: at most 128 characters, no dot, space, * or >`},
		},
		"no server": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}]`,
			edit: func(in *plan.Input) { in.DefaultNATSURL = "" },
			want: []string{`spec.nats.url: Required value: there is no default NATS server: name one here, or start the operator with --nats-url`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(t, test.spec, test.attached)
			if test.edit != nil {
				test.edit(&in)
			}
			p, errs := plan.Compute(in)
			var got []string
			for _, err := range errs {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if p != nil {
				t.Error("a refused pipeline has a plan")
			}
		})
	}
}

// TestDomainBelongsToItsServer: the domain of the default server is that of pipelines on this server alone.
func TestDomainBelongsToItsServer(t *testing.T) {
	for spec, want := range map[string]config.NATS{
		``:                       {URL: "nats://nats:4222", JetStreamDomain: "hub"},
		`{tls: {}}`:              {URL: "nats://nats:4222", JetStreamDomain: "hub"},
		`{jetStreamDomain: own}`: {URL: "nats://nats:4222", JetStreamDomain: "own"},
		`{url: "nats://a"}`:      {URL: "nats://a"},
		`{url: "nats://a", jetStreamDomain: own}`: {URL: "nats://a", JetStreamDomain: "own"},
	} {
		in := input(t, `{nats: `+spec+`, stages: [{name: a, from: [ingress], validate: {}}]}`, nil)
		in.DefaultDomain = "hub"
		p, errs := plan.Compute(in)
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		if got := p.Stages[0].Config.NATS; got != want {
			t.Errorf("%s: got %+v, want %+v", spec, got, want)
		}
	}
}

// TestOrder: a stage stands behind all stages it reads, and otherwise as in the manifest.
func TestOrder(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"as written":     {`stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], validate: {}}, {name: c, from: [a], validate: {}}]`, "a b c"},
		"backwards":      {`stages: [{name: c, from: [b], validate: {}}, {name: b, from: [a], validate: {}}, {name: a, from: [ingress], validate: {}}]`, "a b c"},
		"diamond":        {`stages: [{name: d, from: [b, c], validate: {}}, {name: a, from: [ingress], validate: {}}, {name: c, from: [a], validate: {}}, {name: b, from: [a], validate: {}}]`, "a b c d"},
		"no connections": {`stages: [{name: z, from: [ingress], validate: {}}, {name: a, from: [ingress], validate: {}}]`, "z a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, errs := plan.Compute(input(t, test.spec, nil))
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			var got []string
			for _, s := range p.Stages {
				got = append(got, s.Name)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestConsumers: each port has a consumer with a subject that holds it and nothing else.
func TestConsumers(t *testing.T) {
	p, errs := plan.Compute(input(t, `
subjectPrefix: ev
stages:
- {name: a, from: [ingress], correlate: {window: {}}}
- {name: b, from: [ingress], validate: {}}
- {name: c, from: [ingress, a, a/insights, a/dead-letter, b/dead-letter], validate: {}}
`, nil))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	want := []plan.Consumer{
		{Stream: "DEFAULT_P_RAW", Durable: "default-p-c", FilterSubject: ">", MaxAckPending: plan.EventMaxAckPending},
		{Stream: "DEFAULT_P_A", Durable: "default-p-c", FilterSubject: "ev.a.>", MaxAckPending: plan.FrameMaxAckPending},
		{Stream: "DEFAULT_P_INSIGHTS", Durable: "default-p-c_a", FilterSubject: "ev.insights.a.>", MaxAckPending: plan.EventMaxAckPending},
		{Stream: "DEFAULT_P_DEAD_LETTERS", Durable: "default-p-c_a", FilterSubject: "ev.dead-letter.a.>", MaxAckPending: plan.EventMaxAckPending},
		{Stream: "DEFAULT_P_DEAD_LETTERS", Durable: "default-p-c_b", FilterSubject: "ev.dead-letter.b.>", MaxAckPending: plan.EventMaxAckPending},
	}
	for i := range want {
		want[i].AckWait = plan.DefaultAckWait
	}
	if diff := cmp.Diff(want, p.Stages[2].Consumers); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var from []string
	for _, in := range p.Stages[2].Config.Inputs {
		from = append(from, in.From)
	}
	if diff := cmp.Diff([]string{"ingress", "a/out", "a/insights", "a/dead-letter", "b/dead-letter"}, from); diff != "" {
		t.Errorf("inputs (-want +got)\n%s", diff)
	}
}

// TestLanes: a stage has a lane for each partition when all it reads is partitioned, with a
// consumer for each; else it has one lane, as has correlate. In a pipeline whose ingress has partitions all
// streams of stages have subjects for each lane that writes, whoever reads what.
func TestLanes(t *testing.T) {
	spec := `{partitions: 3, ingress: {%s}, stages: [{name: a, from: [ingress], correlate: {window: {}}}, {name: a2, from: [a], validate: {}}, {name: b, %s}]}`
	lanes := []string{"default-p-b_lane-0 default.p.a.0", "default-p-b_lane-1 default.p.a.1", "default-p-b_lane-2 default.p.a.2"}
	behind := func(lanes []string) (all []string) {
		for _, l := range lanes {
			all = append(all, l+".>")
		}
		return all
	}
	atIngress := []string{"default-p-b_lane-0 default.p.raw.0.>", "default-p-b_lane-1 default.p.raw.1.>", "default-p-b_lane-2 default.p.raw.2.>"}
	tests := map[string]struct {
		stage string
		want  []string
		// by is partitionBy of the ingress.
		by string
	}{
		"frames":                        {`from: [a], validate: {}`, lanes, ""},
		"frames, by name":               {`from: [a/out], analyze: {trend: {}}`, lanes, ""},
		"frames of two stages":          {`from: [a, a2], validate: {dedupe: {}}`, append(slices.Clone(lanes), "default-p-b_lane-0 default.p.a2.0", "default-p-b_lane-1 default.p.a2.1", "default-p-b_lane-2 default.p.a2.2"), ""},
		"frames, correlate":             {`from: [a], correlate: {window: {}}`, []string{"default-p-b default.p.a.>"}, ""},
		"ingress":                       {`from: [ingress], validate: {}`, []string{"default-p-b >"}, ""},
		"frames and ingress":            {`from: [a, ingress], validate: {}`, []string{"default-p-b default.p.a.>", "default-p-b >"}, ""},
		"insights":                      {`from: [a/insights], analyze: {trend: {}}`, []string{"default-p-b_a default.p.insights.a.>"}, ""},
		"frames and dead letters":       {`from: [a, a/dead-letter], validate: {}`, []string{"default-p-b default.p.a.>", "default-p-b_a default.p.dead-letter.a.>"}, ""},
		"more workers than lanes":       {`from: [a], validate: {}, workers: {min: 20}`, lanes, ""},
		"many workers of correlate":     {`from: [a], correlate: {window: {}}, workers: {min: 2}`, []string{"default-p-b default.p.a.>"}, ""},
		"ingress by subject":            {`from: [ingress], validate: {}`, atIngress, "partitionBy: Subject"},
		"frames, ingress by subject":    {`from: [a], validate: {}`, behind(lanes), "partitionBy: Subject"},
		"frames and ingress by subject": {`from: [a, ingress], validate: {dedupe: {}}`, append(behind(lanes), atIngress...), "partitionBy: Subject"},
		"analyze at ingress by subject": {`from: [ingress], analyze: {trend: {}}`, []string{"default-p-b default.p.raw.>"}, "partitionBy: Subject"},
		"correlate, ingress by subject": {`from: [a, ingress], correlate: {window: {}}`, []string{"default-p-b default.p.a.>", "default-p-b default.p.raw.>"}, "partitionBy: Subject"},
		"dead letters and ingress":      {`from: [a/dead-letter, ingress], validate: {}`, []string{"default-p-b_a default.p.dead-letter.a.>", "default-p-b default.p.raw.>"}, "partitionBy: Subject"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, errs := plan.Compute(input(t, fmt.Sprintf(spec, test.by, test.stage), nil))
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			s := p.Stages[slices.IndexFunc(p.Stages, func(s plan.Stage) bool { return s.Name == "b" })]
			var got []string
			for i, c := range s.Consumers {
				got = append(got, c.Durable+" "+c.FilterSubject)
				in, lane := s.Config.Inputs[i/s.Lanes], i%s.Lanes
				if in.Stream != c.Stream || in.Consumer(lane, s.Lanes) != c.Durable || in.Filter(lane, s.Lanes) != c.FilterSubject {
					t.Errorf("the worker of lane %d looks for %s with %s on %s, the plan has %v",
						lane, in.Consumer(lane, s.Lanes), in.Filter(lane, s.Lanes), in.Stream, c)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			parse(t, p)
			for port, out := range s.Config.Outputs {
				if want := test.by != "" && port == config.PortOut; out.Repartition != want {
					t.Errorf("repartition of port %s is %t, want %t", port, out.Repartition, want)
				}
			}
			if s.Config.Lanes != s.Lanes || s.Config.Leases != p.Leases.Bucket {
				t.Errorf("the config has %d lanes and the leases %q, the plan %d and %q", s.Config.Lanes, s.Config.Leases, s.Lanes, p.Leases.Bucket)
			}
		})
	}
}

// TestChains: chained stages have no consumers and no workers; their configs are in their
// head's, parents first. A port out that only the worker reads is no stream, unless it is named.
func TestChains(t *testing.T) {
	type want struct {
		Head      string
		Lanes     int
		Replicas  int32
		Suspended bool
		Consumers int
		Chain     string
		Outputs   string
	}
	tests := map[string]struct {
		spec     string
		attached map[string]string
		streams  string
		want     map[string]want
	}{
		"a tree behind the ingress": {
			spec: `stages: [
				{name: c, from: [b], placement: {with: a}, correlate: {window: {}}}, {name: b, from: [a], placement: {with: a}, validate: {dedupe: {}}},
				{name: a, from: [ingress], workers: {min: 2}, validate: {}}, {name: d, from: [b], placement: {with: c}, enrich: {trace: {}}}]`,
			streams: "RAW C D INSIGHTS DEAD_LETTERS",
			want: map[string]want{
				"a": {Lanes: 1, Replicas: 2, Consumers: 1, Chain: "b<a/out c<b/out d<b/out", Outputs: "dead-letter"},
				"b": {Head: "a", Lanes: 1, Outputs: "dead-letter"},
				"c": {Head: "a", Lanes: 1, Outputs: "dead-letter insights out"},
				"d": {Head: "a", Lanes: 1, Outputs: "dead-letter out"},
			},
		},
		"behind partitions, with a reader outside": {
			spec: `partitions: 2
stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], suspend: true, validate: {}},
				{name: c, from: [b], placement: {with: b}, analyze: {trend: {}}}, {name: d, from: [b], validate: {}}, {name: e, from: [c/insights], validate: {}}]`,
			streams: "RAW A B C D E INSIGHTS DEAD_LETTERS",
			want: map[string]want{
				"a": {Lanes: 1, Replicas: 1, Consumers: 1, Outputs: "dead-letter out"},
				"b": {Lanes: 2, Replicas: 1, Consumers: 2, Suspended: true, Chain: "c<b/out", Outputs: "dead-letter out"},
				"c": {Head: "b", Lanes: 2, Suspended: true, Outputs: "dead-letter insights out"},
				"d": {Lanes: 2, Replicas: 1, Consumers: 2, Outputs: "dead-letter out"},
				"e": {Lanes: 1, Replicas: 1, Consumers: 1, Outputs: "dead-letter out"},
			},
		},
		"a named output is kept": {
			spec:    `stages: [{name: a, from: [ingress], output: {subject: checked}, validate: {}}, {name: b, from: [a], placement: {with: a}, validate: {}}]`,
			streams: "RAW A B DEAD_LETTERS",
			want: map[string]want{
				"a": {Lanes: 1, Replicas: 1, Consumers: 1, Chain: "b<a/out", Outputs: "dead-letter out"},
				"b": {Head: "a", Lanes: 1, Outputs: "dead-letter out"},
			},
		},
		"attached, and read by an attached one": {
			spec: `stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], placement: {with: a}, validate: {}}]`,
			attached: map[string]string{
				"x": `{pipelineRef: {name: p}, from: [b], placement: {with: b}, replicas: 3, validate: {}}`,
				"y": `{pipelineRef: {name: p}, from: [a], validate: {}}`,
			},
			streams: "RAW A X Y DEAD_LETTERS",
			want: map[string]want{
				"a": {Lanes: 1, Replicas: 1, Consumers: 1, Chain: "b<a/out x<b/out", Outputs: "dead-letter out"},
				"b": {Head: "a", Lanes: 1, Outputs: "dead-letter"},
				"x": {Head: "a", Lanes: 1, Outputs: "dead-letter out"},
				"y": {Lanes: 8, Replicas: 1, Consumers: 8, Outputs: "dead-letter out"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, errs := plan.Compute(input(t, test.spec, test.attached))
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			var streams []string
			for _, s := range p.Streams {
				streams = append(streams, strings.TrimPrefix(s.Name, "DEFAULT_P_"))
			}
			if got := strings.Join(streams, " "); got != test.streams {
				t.Errorf("streams are %s, want %s", got, test.streams)
			}
			got := map[string]want{}
			for _, s := range p.Stages {
				var chain []string
				for _, c := range s.Config.Chain {
					chain = append(chain, c.Stage+"<"+c.Inputs[0].From)
				}
				got[s.Name] = want{
					s.Head, s.Lanes, s.Replicas, s.Suspended, len(s.Consumers),
					strings.Join(chain, " "), strings.Join(slices.Sorted(maps.Keys(s.Config.Outputs)), " "),
				}
				if s.Head != "" && (s.Config.Leases != "" || s.Config.Inputs[0].Stream != "") {
					t.Errorf("%s has leases %q and reads stream %q", s.Name, s.Config.Leases, s.Config.Inputs[0].Stream)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			parse(t, p)
		})
	}
}

// TestLeases: the bucket is where the streams are, and pipelines that may share a server
// have different ones.
func TestLeases(t *testing.T) {
	stages := `stages: [{name: a, from: [ingress], validate: {}}]}`
	for spec, want := range map[string]plan.Leases{
		`{` + stages: {Bucket: "default_p", Replicas: 1},
		`{streams: {storage: Memory, replicas: 3}, ` + stages: {Bucket: "default_p", Memory: true, Replicas: 3},
		`{subjectPrefix: east.events, ` + stages:              {Bucket: "default_p_east-events", Replicas: 1},
	} {
		p, errs := plan.Compute(input(t, spec, nil))
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		if diff := cmp.Diff(want, p.Leases); diff != "" {
			t.Errorf("%s (-want +got)\n%s", spec, diff)
		}
	}
}

// TestStates: the bucket of snapshots is beside that of the leases, where a stage has state to keep. No pipeline's leases have its
// name: there is no namespace with capitals.
func TestStates(t *testing.T) {
	for spec, want := range map[string]plan.States{
		`{stages: [{name: a, from: [ingress], validate: {dedupe: {}}}]}`:                                                                               {},
		`{stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], analyze: {trend: {}}}]}`:                                             {Bucket: "STATE_default_p", Replicas: 1},
		`{streams: {storage: Memory, replicas: 3}, stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a], correlate: {window: {}}}]}`: {Bucket: "STATE_default_p", Memory: true, Replicas: 3},
	} {
		p, errs := plan.Compute(input(t, spec, nil))
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		if diff := cmp.Diff(want, p.States); diff != "" {
			t.Errorf("%s (-want +got)\n%s", spec, diff)
		}
	}
}

// TestUnique: over all stages, no two consumers of a stream share a name, whatever dashes the
// names of stages hold.
func TestUnique(t *testing.T) {
	p, errs := plan.Compute(input(t, `
partitions: 2
stages:
- {name: a, from: [ingress], validate: {}}
- {name: b-c, from: [ingress], validate: {}}
- {name: c, from: [ingress], validate: {}}
- {name: x, from: [b-c/dead-letter, c/dead-letter], validate: {}}
- {name: x-b, from: [c/dead-letter, a/dead-letter], validate: {}}
- {name: y, from: [a], validate: {}}
- {name: y-0, from: [a], correlate: {window: {}}}
`, nil))
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	seen := map[string]string{}
	for _, s := range p.Stages {
		for _, c := range s.Consumers {
			if other, ok := seen[c.Stream+"/"+c.Durable]; ok {
				t.Errorf("stages %s and %s share the consumer %s of %s", s.Name, other, c.Durable, c.Stream)
			}
			seen[c.Stream+"/"+c.Durable] = s.Name
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d consumers, want 10", len(seen))
	}
}

// TestSuspended: the pipeline suspends all of its stages, a stage itself.
func TestSuspended(t *testing.T) {
	spec := `{suspend: %, stages: [{name: a, from: [ingress], validate: {}, suspend: true}, {name: b, from: [a], validate: {}, workers: {min: 3}}]}`
	for suspended, want := range map[string]bool{"true": true, "false": false} {
		p, errs := plan.Compute(input(t, strings.Replace(spec, "%", suspended, 1), nil))
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		if !p.Stages[0].Suspended || p.Stages[1].Suspended != want {
			t.Errorf("suspend: %s gives %v and %v", suspended, p.Stages[0].Suspended, p.Stages[1].Suspended)
		}
		if p.Stages[1].Replicas != 3 {
			t.Errorf("replicas are %d, want 3", p.Stages[1].Replicas)
		}
	}
}

// TestPure: a plan follows from its input alone, and leaves the input as it was.
func TestPure(t *testing.T) {
	in := read(t, "../../config/samples/attached-stage.yaml")
	before, _ := json.Marshal(in)
	first, errs := plan.Compute(in)
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	second, _ := plan.Compute(in)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("two plans of one input differ\n%s", diff)
	}
	if after, _ := json.Marshal(in); string(after) != string(before) {
		t.Errorf("the input changed from %s to %s", before, after)
	}
}

func TestPlace(t *testing.T) {
	for path, want := range map[string][2]string{
		"spec.stages[0].from[1]":        {"", "spec.stages[0].from[1]"},
		"stages[archive].spec.from[0]":  {"archive", "spec.from[0]"},
		"stages[a-b].metadata.name":     {"a-b", "metadata.name"},
		"spec.stages[0].validate.rules": {"", "spec.stages[0].validate.rules"},
	} {
		object, rest := plan.Place(path)
		if got := [2]string{object, rest}; got != want {
			t.Errorf("Place(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestClashes(t *testing.T) {
	compute := func(spec string) *plan.Plan {
		p, errs := plan.Compute(input(t, spec, nil))
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		return p
	}
	one := compute(`{subjectPrefix: a, ingress: {stream: I}, deadLetters: {stream: D1}, stages: [{name: x, from: [ingress], output: {stream: X}, validate: {}}]}`)
	apart := compute(`{subjectPrefix: b, ingress: {stream: I2}, deadLetters: {stream: D2}, stages: [{name: x, from: [ingress], output: {stream: X2}, validate: {}}]}`)
	same := compute(`{subjectPrefix: a, ingress: {stream: I, subject: other}, deadLetters: {stream: D3, subject: more}, stages: [{name: x, from: [ingress], output: {stream: X3}, validate: {}}]}`)
	if got := plan.Clashes(one, apart); len(got) > 0 {
		t.Errorf("clashes of pipelines apart: %v", got)
	}
	want := []string{
		"stream I belongs to Pipeline default/p too",
		"subjects a.x.> of stream X overlap a.x.> of stream X3 of Pipeline default/p",
	}
	if diff := cmp.Diff(want, plan.Clashes(one, same)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	named := compute(`{subjectPrefix: c, stages: [{name: x, from: [ingress], output: {stream: KV_default_p_b}, validate: {}}]}`)
	if diff := cmp.Diff([]string{"stream KV_default_p_b has the name of the leases or snapshots of Pipeline default/p"}, plan.Clashes(named, apart)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"the leases or snapshots have the name of stream KV_default_p_b of Pipeline default/p"}, plan.Clashes(apart, named)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestClashesOfStageObjects: two pipelines of a namespace cannot both have a Stage object of one
// name, whatever servers they use.
func TestClashesOfStageObjects(t *testing.T) {
	compute := func(namespace, name, stage, url string, attached map[string]string) *plan.Plan {
		in := input(t, fmt.Sprintf(`{nats: {url: %q}, stages: [{name: %s, from: [ingress], validate: {}}]}`, url, stage), attached)
		in.Pipeline.Namespace, in.Pipeline.Name = namespace, name
		p, errs := plan.Compute(in)
		if len(errs) > 0 {
			t.Fatal(errs.ToAggregate())
		}
		return p
	}
	const one, two = "nats://one:4222", "nats://two:4222"
	bc := compute("default", "a", "b-c", one, nil)
	for name, test := range map[string]struct {
		plan *plan.Plan
		want []string
	}{
		"own stages": {
			compute("default", "a-b", "c", two, nil),
			[]string{`stage "c" needs the Stage object a-b-c, which is that of stage "b-c" of Pipeline default/a too`},
		},
		"attached and own": {
			compute("default", "q", "x", two, map[string]string{"a-b-c": `{pipelineRef: {name: q}, name: w, from: [x], validate: {}}`}),
			[]string{`stage "w" needs the Stage object a-b-c, which is that of stage "b-c" of Pipeline default/a too`},
		},
		"other names":      {compute("default", "a-b", "d", two, nil), nil},
		"other namespaces": {compute("other", "a-b", "c", one, nil), nil},
	} {
		if diff := cmp.Diff(test.want, plan.Clashes(test.plan, bc)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
