package api_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// change is an update of an object.
type change struct {
	name, base string
	// from and to are patches of the base.
	from, to string
	// want are the refusals; none when the change is fine.
	want []string
}

func (c change) kind() string {
	if strings.Contains(c.base, "kind: Stage") {
		return "Stage"
	}
	return "Pipeline"
}

func changes() []change {
	const (
		prefix    = "spec.subjectPrefix: Invalid value: subjectPrefix is immutable: stored events keep their subjects"
		partition = "spec.partitions: Invalid value: partitions is immutable: another number would break the order of each key"
		storage   = "spec.streams: Invalid value: streams.storage is immutable: a stream keeps its storage"
		ingress   = "spec.ingress: Invalid value: ingress is immutable: collectors publish there"
		insights  = "spec.insights: Invalid value: insights is immutable: others read there"
		dead      = "spec.deadLetters: Invalid value: deadLetters is immutable: others read there"
	)
	stages := func(stages string) string {
		return `spec: {stages: [{name: check, from: [ingress], validate: {}}, ` + stages + `]}`
	}
	placement := "spec.stages[1].placement: Invalid value: placement is immutable: events between the two stages would be left behind"
	kind := "spec.stages[1]: Invalid value: the kind of a stage is immutable: make a stage of another name"
	output := "spec.stages[1].output: Invalid value: output is immutable: others read there"
	key := "transform.key: Invalid value: key cannot be set or unset later: the subjects of the output follow from that. Make a stage of another name"
	transform := func(key string) string {
		return `{name: clean, from: [check], transform: {` + key + `steps: [{remove: [body]}]}}`
	}
	overflow := "breaker: Invalid value: Overflow cannot be set or unset later: the subjects of the output follow from that. Make a stage of another name"
	gather := func(breaker string) string {
		return `{name: ask, from: [check], gather: {nats: {subject: a}}` + breaker + `}`
	}
	return []change{
		{name: "a breaker gets an overflow", base: basePipeline, from: stages(gather(", breaker: {}")), to: stages(gather(", breaker: {whenOpen: Overflow}")), want: []string{"spec.stages[1]." + overflow}},
		{name: "a stage gets a breaker with an overflow", base: basePipeline, from: stages(gather("")), to: stages(gather(", breaker: {whenOpen: Overflow}")), want: []string{"spec.stages[1]." + overflow}},
		{name: "a stage loses its overflow", base: basePipeline, from: stages(gather(", breaker: {whenOpen: Overflow}")), to: stages(gather("")), want: []string{"spec.stages[1]." + overflow}},
		{name: "a stage keeps its overflow", base: basePipeline, from: stages(gather(", breaker: {whenOpen: Overflow}")), to: stages(gather(", breaker: {whenOpen: Overflow, minCalls: 7, replay: {rate: 5}}"))},
		{name: "a breaker says what the default is", base: basePipeline, from: stages(gather("")), to: stages(gather(", breaker: {whenOpen: Fail}"))},
		{
			name: "a Stage gets an overflow", base: baseStage,
			from: `spec: {validate: null, gather: {nats: {subject: a}}}`, to: `spec: {validate: null, gather: {nats: {subject: a}}, breaker: {whenOpen: Overflow}}`,
			want: []string{"spec." + overflow},
		},
		{name: "transform gets a key", base: basePipeline, from: stages(transform("")), to: stages(transform("key: event.id, ")), want: []string{"spec.stages[1]." + key}},
		{name: "transform loses its key", base: basePipeline, from: stages(transform("key: event.id, ")), to: stages(transform("")), want: []string{"spec.stages[1]." + key}},
		{name: "transform has another key", base: basePipeline, from: stages(transform("key: event.id, ")), to: stages(transform("key: event.type, "))},
		{
			name: "transform of a Stage gets a key", base: baseStage,
			from: `spec: {validate: null, transform: {steps: [{remove: [body]}]}}`, to: `spec: {validate: null, transform: {key: event.id, steps: [{remove: [body]}]}}`,
			want: []string{"spec." + key},
		},
		{name: "prefix changes", base: basePipeline, from: `spec: {subjectPrefix: a}`, to: `spec: {subjectPrefix: b}`, want: []string{prefix}},
		{name: "prefix is set later", base: basePipeline, from: `{}`, to: `spec: {subjectPrefix: b}`, want: []string{prefix}},
		{name: "prefix is removed", base: basePipeline, from: `spec: {subjectPrefix: a}`, to: `{}`, want: []string{prefix}},
		{name: "partitions change", base: basePipeline, from: `spec: {partitions: 4}`, to: `spec: {partitions: 16}`, want: []string{partition}},
		{name: "partitions are removed", base: basePipeline, from: `spec: {partitions: 4}`, to: `{}`, want: []string{partition}},
		{name: "partitions become the default", base: basePipeline, from: `{}`, to: `spec: {partitions: 8}`},
		{name: "storage changes", base: basePipeline, from: `{}`, to: `spec: {streams: {storage: Memory}}`, want: []string{storage}},
		{name: "storage becomes the default", base: basePipeline, from: `{}`, to: `spec: {streams: {storage: File}}`},
		{name: "limits change", base: basePipeline, from: `spec: {streams: {maxAge: 1h}}`, to: `spec: {streams: {maxAge: 2h, maxBytes: 1Gi, replicas: 3}}`},
		{name: "ingress stream changes", base: basePipeline, from: `spec: {ingress: {stream: A}}`, to: `spec: {ingress: {stream: B}}`, want: []string{ingress}},
		{name: "ingress subject is set later", base: basePipeline, from: `{}`, to: `spec: {ingress: {subject: b}}`, want: []string{ingress}},
		{name: "ingress gets partitions", base: basePipeline, from: `{}`, to: `spec: {ingress: {partitionBy: Subject}}`, want: []string{ingress}},
		{name: "ingress loses partitions", base: basePipeline, from: `spec: {ingress: {partitionBy: Subject}}`, to: `spec: {ingress: {}}`, want: []string{ingress}},
		{name: "ingress keeps partitions", base: basePipeline, from: `spec: {ingress: {partitionBy: Subject}}`, to: `spec: {ingress: {partitionBy: Subject}, suspend: true}`},
		{name: "empty ingress is written", base: basePipeline, from: `{}`, to: `spec: {ingress: {}, insights: {}, deadLetters: {}, streams: {}}`},
		{name: "insights stream changes", base: basePipeline, from: `spec: {insights: {stream: A}}`, to: `spec: {insights: {stream: B}}`, want: []string{insights}},
		{name: "insights prefix is removed", base: basePipeline, from: `spec: {insights: {subjectPrefix: a}}`, to: `{}`, want: []string{insights}},
		{name: "dead letters change", base: basePipeline, from: `spec: {deadLetters: {stream: A}}`, to: `spec: {deadLetters: {stream: A, subject: b}}`, want: []string{dead}},
		{name: "stage is added and removed", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}}`), to: stages(`{name: b, from: [check], enrich: {trace: {}}}`)},
		{name: "kind changes", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}}`), to: stages(`{name: a, from: [check], enrich: {trace: {}}}`), want: []string{kind}},
		{name: "output changes", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}, output: {stream: A}}`), to: stages(`{name: a, from: [check], validate: {}, output: {stream: B}}`), want: []string{output}},
		{name: "output is set later", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}}`), to: stages(`{name: a, from: [check], validate: {}, output: {subject: b}}`), want: []string{output}},
		{name: "placement is set later", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}}`), to: stages(`{name: a, from: [check], placement: {with: check}, validate: {}}`), want: []string{placement}},
		{name: "placement is removed", base: basePipeline, from: stages(`{name: a, from: [check], placement: {with: check}, validate: {}}`), to: stages(`{name: a, from: [check], validate: {}}`), want: []string{placement}},
		{name: "input and settings change", base: basePipeline, from: stages(`{name: a, from: [check], validate: {}}`), to: stages(`{name: a, from: [ingress], validate: {dedupe: {}}, suspend: true}`)},

		{name: "pipelineRef changes", base: baseStage, from: `{}`, to: `spec: {pipelineRef: {name: another}}`, want: []string{"spec.pipelineRef: Invalid value: pipelineRef is immutable: make another Stage"}},
		{name: "name changes", base: baseStage, from: `spec: {name: a}`, to: `spec: {name: b}`, want: []string{"spec.name: Invalid value: name is immutable: a stage of another name is another stage"}},
		{name: "name is removed", base: baseStage, from: `spec: {name: a}`, to: `{}`, want: []string{"spec.name: Invalid value: name is immutable: a stage of another name is another stage"}},
		{name: "kind changes", base: baseStage, from: `{}`, to: `spec: {validate: null, enrich: {trace: {}}}`, want: []string{"spec: Invalid value: the kind of a stage is immutable: make a stage of another name"}},
		{name: "output changes", base: baseStage, from: `{}`, to: `spec: {output: {stream: A}}`, want: []string{"spec.output: Invalid value: output is immutable: others read there"}},
		{name: "placement changes", base: baseStage, from: `spec: {placement: {with: a}}`, to: `spec: {placement: {with: b}}`, want: []string{"spec.placement: Invalid value: placement is immutable: events between the two stages would be left behind"}},
		{name: "startTime changes", base: baseStage, from: `spec: {startTime: "2026-12-01T09:00:00Z"}`, to: `spec: {startTime: "2026-12-01T10:00:00Z"}`, want: []string{"spec.startTime: Invalid value: startTime is immutable: make a Stage of another name"}},
		{name: "startTime is set later", base: baseStage, from: `{}`, to: `spec: {startTime: "2026-12-01T10:00:00Z"}`, want: []string{"spec.startTime: Invalid value: startTime is immutable: make a Stage of another name"}},
		{name: "endTime is removed", base: baseStage, from: `spec: {startTime: "2026-12-01T09:00:00Z", endTime: "2026-12-01T10:00:00Z"}`, to: `spec: {startTime: "2026-12-01T09:00:00Z"}`, want: []string{"spec.endTime: Invalid value: endTime is immutable: make a Stage of another name"}},
		{name: "startTime is written otherwise", base: baseStage, from: `spec: {startTime: "2026-12-01T09:00:00Z"}`, to: `spec: {startTime: "2026-12-01T10:00:00+01:00", suspend: true}`},
		{name: "settings change", base: baseStage, from: `{}`, to: `spec: {from: [ingress], replicas: 3, retry: {maxAttempts: 3}}`},
	}
}

func (s *server) testImmutable(t *testing.T) {
	for i, test := range changes() {
		t.Run(test.kind()+"/"+test.name, func(t *testing.T) {
			object := merged(t, test.base, test.from, fmt.Sprintf(`metadata: {name: change-%d}`, i))
			object.SetNamespace(s.namespace)
			if err := s.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			update := merged(t, test.base, test.to, fmt.Sprintf(`metadata: {name: change-%d}`, i))
			update.SetNamespace(s.namespace)
			update.SetResourceVersion(object.GetResourceVersion())
			err := s.Update(t.Context(), update, client.FieldValidation(metav1.FieldValidationStrict))
			compareRefusals(t, "API server", test.want, refusals(t, err))
		})
	}
}
