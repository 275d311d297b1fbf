package plan

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestTransform: the settings, the Secrets that workers mount, and subjects by lane where the key changes.
func TestTransform(t *testing.T) {
	p, problems := planned(t, `
stages:
- {name: check, from: [ingress], validate: {}}
- name: clean
  from: [check]
  transform:
    key: event.entity.namespace
    steps:
    - {when: event.severity > 9, set: {field: body, expression: event.subject}}
    - {redact: {fields: [subject], method: Hash, keySecretRef: {name: keys, key: hmac}}}
    - {split: {list: "event.body.split(',')"}}
- {name: watch, from: [clean], analyze: {trend: {}}}
`, func(*config.Traits) {})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	clean, watch := p.Stages[1], p.Stages[2]
	want := &config.Transform{Key: "event.entity.namespace", Steps: []config.TransformStep{
		{When: "event.severity > 9", Set: &config.TransformSet{Field: "body", Expression: "event.subject"}},
		{Redact: &config.TransformRedact{Fields: []string{"subject"}, Method: config.RedactHash, KeyFile: "keys/hmac"}},
		{Split: &config.TransformSplit{List: "event.body.split(',')", Into: "body"}},
	}}
	if diff := cmp.Diff(want, clean.Config.Transform); diff != "" {
		t.Errorf("settings (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]config.SecretFile{config.NewSecretFile("keys", "hmac")}, clean.Secrets); diff != "" {
		t.Errorf("Secrets (-want +got)\n%s", diff)
	}
	if clean.Config.Batch.MaxEvents != config.MaxSplitEvents || watch.Config.Batch.MaxEvents == config.MaxSplitEvents {
		t.Errorf("a stage that splits is given %d events at once, another one %d", clean.Config.Batch.MaxEvents, watch.Config.Batch.MaxEvents)
	}
	if !clean.Config.Outputs["out"].Repartition || watch.Consumers[3].FilterSubject != "default.p.clean.3.>" {
		t.Errorf("a new key, but the output is %+v and is read by %s", clean.Config.Outputs["out"], watch.Consumers[3].FilterSubject)
	}
}

func TestTransformThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		spec string
		want []string
	}{
		"results": {
			`{key: event.severity, steps: [{when: event.id, set: {field: body, expression: "1"}}, {set: {field: severity, expression: "'a'"}}, {filter: event.body}, {split: {list: "'a'"}}]}`,
			[]string{
				`spec.stages[0].transform.key: Invalid value: "event.severity": yields int, must yield string`,
				`spec.stages[0].transform.steps[0].when: Invalid value: "event.id": yields string, must yield bool`,
				`spec.stages[0].transform.steps[0].set.expression: Invalid value: "1": yields int, must yield string`,
				`spec.stages[0].transform.steps[1].set.expression: Invalid value: "'a'": yields string, must yield int`,
				`spec.stages[0].transform.steps[2].filter: Invalid value: "event.body": yields string, must yield bool`,
				`spec.stages[0].transform.steps[3].split.list: Invalid value: "'a'": yields string, must yield list`,
			},
		},
		"a split in the middle": {
			`{steps: [{split: {list: "[1]"}}, {remove: [body]}]}`,
			[]string{`spec.stages[0].transform.steps[0].split: Invalid value: "[1]": must be the last step: what follows would see events that are no more`},
		},
		"a pattern": {
			`{steps: [{redact: {fields: [body], method: Mask, pattern: "("}}]}`,
			[]string{"spec.stages[0].transform.steps[0].redact.pattern: Invalid value: \"(\": is no regular expression (RE2): error parsing regexp: missing closing ): `(`"},
		},
		"a subject that stays the key": {
			`{steps: [{redact: {fields: [body, subject], method: Mask}}, {remove: [subject]}]}`,
			[]string{
				`spec.stages[0].transform.steps[0].redact.fields[1]: Invalid value: "subject": the key of an event may be its subject, and would keep it: set transform.key, too`,
				`spec.stages[0].transform.steps[1].remove[0]: Invalid value: "subject": the key of an event may be its subject, and would keep it: set transform.key, too`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := planned(t, `stages: [{name: t, from: [ingress], transform: `+tc.spec+`}]`, func(*config.Traits) {})
			if !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
