package api_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refusal is an object that must not be created.
type refusal struct {
	// patch of the base object.
	patch string
	// want are the refusals of the API server, and of lint.
	want []string
	// planned are further refusals of lint, which knows the whole pipeline.
	planned []string
}

// form is a stage inside a Pipeline or a Stage object: a rule of a stage is tested in both.
type form struct {
	base, prefix string
	// kind and wrap make a patch of the base from one of the stage.
	wrap func(t *testing.T, base, patch string) *unstructured.Unstructured
}

func forms() map[string]form {
	return map[string]form{
		"Stage": {base: baseStage, prefix: "spec", wrap: func(t *testing.T, base, patch string) *unstructured.Unstructured {
			object := merged(t, base)
			merge(object.Object["spec"].(map[string]any), parse(t, patch))
			return object
		}},
		"Pipeline": {base: basePipeline, prefix: "spec.stages[1]", wrap: func(t *testing.T, base, patch string) *unstructured.Unstructured {
			object := merged(t, base)
			node := parse(t, `{name: node, from: [check], validate: {}}`)
			merge(node, parse(t, patch))
			spec := object.Object["spec"].(map[string]any)
			other := parse(t, `{name: other, from: [ingress], validate: {}}`)
			spec["stages"] = append(spec["stages"].([]any), node, other)
			return object
		}},
	}
}

func (s *server) testRefused(t *testing.T) {
	for name, test := range pipelineRefusals() {
		t.Run("Pipeline/"+name, func(t *testing.T) { s.refuse(t, merged(t, basePipeline, test.patch), test) })
	}
	for name, test := range stageRefusals() {
		t.Run("Stage/"+name, func(t *testing.T) { s.refuse(t, merged(t, baseStage, test.patch), test) })
	}
	for name, test := range nodeRefusals() {
		for kind, form := range forms() {
			t.Run(kind+"/"+name, func(t *testing.T) {
				s.refuse(t, form.wrap(t, form.base, test.patch), test.at(form.prefix))
			})
		}
	}
}

// at completes paths that are relative to a stage; {path} in a message is the whole path.
func (r refusal) at(prefix string) refusal {
	complete := func(lines []string) []string {
		var all []string
		for _, l := range lines {
			path, message, _ := strings.Cut(l, ": ")
			if path == "" {
				path = prefix
			} else {
				path = prefix + "." + path
			}
			all = append(all, path+": "+strings.ReplaceAll(message, "{path}", path))
		}
		return all
	}
	return refusal{patch: r.patch, want: complete(r.want), planned: complete(r.planned)}
}

func (s *server) refuse(t *testing.T, object *unstructured.Unstructured, test refusal) {
	t.Helper()
	compareRefusals(t, "API server", test.want, s.create(t, object, client.DryRunAll))
	compareRefusals(t, "lint", append(append([]string{}, test.want...), test.planned...), s.lint(t, object))
}

func long(n int) string { return strings.Repeat("a", n) }

func pipelineRefusals() map[string]refusal {
	const labelName = "metadata.name must be at most 63 lower-case letters, digits and -, without dots: it becomes part of subjects, streams and labels"
	unknownStage := "spec.stages: Invalid value: from names a stage that the pipeline does not have: it takes ingress, <stage> and <stage>/<port>"
	return map[string]refusal{
		"name with dot": {
			patch: `metadata: {name: a.b}`, want: []string{"Invalid value: " + labelName},
		},
		"name too long": {
			patch: `metadata: {name: ` + long(64) + `}`,
			planned: []string{`spec.stages[0].name: Invalid value: "check": the Stage object ` + long(64) +
				`-check would have a name of 70 characters, at most 63: shorten the name of the pipeline or of the stage`},
			want: []string{
				"Invalid value: " + labelName,
				"spec.stages: Invalid value: metadata.name and the name of a stage must have at most 62 characters together: <pipeline>-<stage> names the Stage",
			},
		},
		"name no subdomain": {
			patch: `metadata: {name: A}`,
			want: []string{
				"Invalid value: " + labelName,
				`metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			},
		},
		"names too long together": {
			patch: `{metadata: {name: ` + long(40) + `}, spec: {stages: [{name: ` + long(23) + `, from: [ingress], validate: {}}]}}`,
			want:  []string{"spec.stages: Invalid value: metadata.name and the name of a stage must have at most 62 characters together: <pipeline>-<stage> names the Stage"},
			planned: []string{`spec.stages[0].name: Invalid value: "` + long(23) + `": the Stage object ` + long(40) + "-" + long(23) +
				` would have a name of 64 characters, at most 63: shorten the name of the pipeline or of the stage`},
		},
		"unknown field": {
			patch: `spec: {subjectprefix: events}`, want: []string{`spec.subjectprefix: unknown field "spec.subjectprefix"`},
		},
		"kind that is not built": {
			patch: `spec: {stages: [{name: a, from: [ingress], brew: {}, validate: {}}]}`,
			want:  []string{`spec.stages[0].brew: unknown field "spec.stages[0].brew"`},
		},
		"wrong type": {
			patch: `spec: {partitions: many}`,
			want:  []string{`spec.partitions: Invalid value: "string": spec.partitions in body must be of type integer: "string"`},
		},
		"no stages": {
			patch: `spec: {stages: []}`,
			want:  []string{`spec.stages: Invalid value: 0: spec.stages in body should have at least 1 items`},
		},
		"stages missing": {
			patch: `spec: {stages: null}`, want: []string{"spec.stages: Required value"},
		},
		"subject prefix with wildcard": {
			patch: `spec: {subjectPrefix: "events.*"}`,
			want:  []string{`spec.subjectPrefix: Invalid value: "events.*": spec.subjectPrefix in body should match '^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$'`},
		},
		"partitions": {
			patch: `spec: {partitions: 257}`, want: []string{"spec.partitions: Invalid value: 257: spec.partitions in body should be less than or equal to 256"},
		},
		"no partition": {
			patch: `spec: {partitions: 0}`, want: []string{"spec.partitions: Invalid value: 0: spec.partitions in body should be greater than or equal to 1"},
		},
		"replicas": {
			patch: `spec: {streams: {replicas: 6}}`, want: []string{"spec.streams.replicas: Invalid value: 6: spec.streams.replicas in body should be less than or equal to 5"},
		},
		"storage": {
			patch: `spec: {streams: {storage: Disk}}`, want: []string{`spec.streams.storage: Unsupported value: "Disk": supported values: "File", "Memory"`},
		},
		"durability": {
			patch: `spec: {streams: {durability: Always}}`, want: []string{`spec.streams.durability: Unsupported value: "Always": supported values: "Default", "PowerSafe"`},
		},
		"power-safe in memory": {
			patch: `spec: {streams: {durability: PowerSafe, storage: Memory}}`,
			want:  []string{`spec.streams.durability: Invalid value: durability PowerSafe needs storage File`},
		},
		"max age too short": {
			patch: `spec: {streams: {maxAge: 59s}}`, want: []string{`spec.streams.maxAge: Invalid value: "59s": must be a duration from 1m to 8760h`},
		},
		"max age too long": {
			patch: `spec: {streams: {maxAge: 8761h}}`, want: []string{`spec.streams.maxAge: Invalid value: "8761h": must be a duration from 1m to 8760h`},
		},
		"max age in days": {
			patch: `spec: {streams: {maxAge: 7d}}`, want: []string{`spec.streams.maxAge: Invalid value: "7d": must be a duration from 1m to 8760h`},
		},
		"max bytes": {
			patch: `spec: {streams: {maxBytes: 1Ki}}`, want: []string{`spec.streams.maxBytes: Invalid value: "1Ki": must be at least 1Mi, below 8Ei`},
		},
		"max bytes as number": {
			patch: `spec: {streams: {maxBytes: 1024}}`, want: []string{`spec.streams.maxBytes: Invalid value: 1024: must be at least 1Mi, below 8Ei`},
		},
		"max bytes of 64 bits": {
			patch: `spec: {streams: {maxBytes: 8Ei}}`, want: []string{`spec.streams.maxBytes: Invalid value: "8Ei": must be at least 1Mi, below 8Ei`},
		},
		"max bytes of more than 64 bits": {
			patch: `spec: {streams: {maxBytes: "1e19"}}`, want: []string{`spec.streams.maxBytes: Invalid value: "1e19": must be at least 1Mi, below 8Ei`},
		},
		"deletion policy": {
			patch: `spec: {deletionPolicy: Keep}`, want: []string{`spec.deletionPolicy: Unsupported value: "Keep": supported values: "Retain", "Delete"`},
		},
		"URL without scheme": {
			patch: `spec: {nats: {url: "nats:4222"}}`,
			want:  []string{`spec.nats.url: Invalid value: "nats:4222": must be URLs such as nats://nats:4222, separated by commas; schemes are nats and tls, or ws and wss`},
		},
		"URL of another scheme": {
			patch: `spec: {nats: {url: "nats://a:4222,http://b"}}`,
			want:  []string{`spec.nats.url: Invalid value: "nats://a:4222,http://b": must be URLs such as nats://nats:4222, separated by commas; schemes are nats and tls, or ws and wss`},
		},
		"URLs with and without WebSocket": {
			patch: `spec: {nats: {url: "nats://a:4222,WS://b"}}`,
			want:  []string{`spec.nats.url: Invalid value: "nats://a:4222,WS://b": must be URLs such as nats://nats:4222, separated by commas; schemes are nats and tls, or ws and wss`},
		},
		"JetStream domain with a dot": {
			patch: `spec: {nats: {jetStreamDomain: a.b}}`,
			want:  []string{`spec.nats.jetStreamDomain: Invalid value: "a.b": must be the name of a JetStream domain, without dots, spaces, * and >`},
		},
		"JetStream domain with a space": {
			patch: `spec: {nats: {jetStreamDomain: "a b"}}`,
			want:  []string{`spec.nats.jetStreamDomain: Invalid value: "a b": must be the name of a JetStream domain, without dots, spaces, * and >`},
		},
		"URL with password": {
			patch: `spec: {nats: {url: "nats://me:secret@a:4222"}}`,
			want:  []string{`spec.nats.url: Invalid value: "nats://me:secret@a:4222": must hold no user or password: use credentialsSecretRef`},
		},
		"secret without name": {
			patch: `spec: {nats: {credentialsSecretRef: {key: a}}}`, want: []string{"spec.nats.credentialsSecretRef.name: Required value"},
		},
		"type of credentials": {
			patch: `spec: {nats: {credentialsType: Token}}`, want: []string{`spec.nats.credentialsType: Unsupported value: "Token": supported values: "Creds", "NKey", "Password"`},
		},
		"password with key": {
			patch: `spec: {nats: {credentialsType: Password, credentialsSecretRef: {name: a, key: b}}}`,
			want:  []string{`spec.nats.credentialsSecretRef: Invalid value: type Password reads the keys username and password: leave key out`},
		},
		"two ways to authenticate": {
			patch: `spec: {nats: {credentialsSecretRef: {name: a}, nkeySecretRef: {name: b}}}`,
			want:  []string{`spec.nats.nkeySecretRef: unknown field "spec.nats.nkeySecretRef"`},
		},
		"TLS of a WebSocket in the clear": {
			patch: `spec: {nats: {url: "wss://a,ws://b", tls: {}}}`,
			want:  []string{`spec.nats.tls: Invalid value: tls does not protect ws: use wss`},
		},
		"kind of the CA": {
			patch: `spec: {nats: {tls: {ca: {kind: File, name: a}}}}`, want: []string{`spec.nats.tls.ca.kind: Unsupported value: "File": supported values: "Secret", "ConfigMap"`},
		},
		"CA without name": {
			patch: `spec: {nats: {tls: {ca: {kind: Secret}}}}`, want: []string{"spec.nats.tls.ca.name: Required value"},
		},
		"certificate unverified": {
			patch: `spec: {nats: {tls: {insecureSkipVerify: true}}}`,
			want:  []string{`spec.nats.tls.insecureSkipVerify: unknown field "spec.nats.tls.insecureSkipVerify"`},
		},
		"stream name": {
			patch: `spec: {ingress: {stream: raw.events}}`, want: []string{`spec.ingress.stream: Invalid value: "raw.events": spec.ingress.stream in body should match '^[A-Za-z0-9][A-Za-z0-9_-]*$'`},
		},
		"partitions by something else": {
			patch: `spec: {ingress: {partitionBy: Key}}`, want: []string{`spec.ingress.partitionBy: Unsupported value: "Key": supported values: "Subject"`},
		},
		"subject with wildcard": {
			patch: `spec: {deadLetters: {subject: "dead.>"}}`, want: []string{`spec.deadLetters.subject: Invalid value: "dead.>": spec.deadLetters.subject in body should match '^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$'`},
		},
		"insights prefix": {
			patch: `spec: {insights: {subjectPrefix: "$JS"}}`, want: []string{`spec.insights.subjectPrefix: Invalid value: "$JS": spec.insights.subjectPrefix in body should match '^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$'`},
		},
		"unknown stage": {
			patch:   `spec: {stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [c], validate: {}}]}`,
			want:    []string{unknownStage},
			planned: []string{`spec.stages[1].from[0]: Not found: "c": there is no stage "c"; stages are a, b`},
		},
		"unknown stage with port": {
			patch:   `spec: {stages: [{name: a, from: [ingress, c/dead-letter], validate: {}}]}`,
			want:    []string{unknownStage},
			planned: []string{`spec.stages[0].from[1]: Not found: "c/dead-letter": there is no stage "c"; stages are a`},
		},
		"insights of a stage that has none": {
			patch:   `spec: {stages: [{name: a, from: [ingress], validate: {}}, {name: b, from: [a/insights], validate: {}}]}`,
			want:    []string{"spec.stages: Invalid value: only correlate and analyze stages have a port insights"},
			planned: []string{`spec.stages[1].from[0]: Invalid value: "a/insights": stage "a" (validate) has no port "insights"; its ports are out, dead-letter`},
		},
		"two stages of one name": {
			patch: `spec: {stages: [{name: a, from: [ingress], validate: {}}, {name: a, from: [ingress], validate: {}}]}`,
			want:  []string{`spec.stages[1]: Duplicate value: {"name":"a"}`},
		},
		"stage named ingress": {
			patch: `spec: {stages: [{name: ingress, from: [ingress], validate: {}}]}`,
			want: []string{
				`spec.stages[0].from: Invalid value: a stage cannot read itself`,
				`spec.stages[0].name: Invalid value: "ingress": ingress is the name of the pipeline's input: choose another`,
			},
		},
		"stage name": {
			patch: `spec: {stages: [{name: Check, from: [ingress], validate: {}}]}`,
			want:  []string{`spec.stages[0].name: Invalid value: "Check": spec.stages[0].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'`},
		},
		"stage reads itself": {
			patch: `spec: {stages: [{name: a, from: [ingress, a], validate: {}}]}`,
			want:  []string{"spec.stages[0].from: Invalid value: a stage cannot read itself"},
		},
		"stage reads its own dead letters": {
			patch: `spec: {stages: [{name: a, from: [ingress, a/dead-letter], validate: {}}]}`,
			want:  []string{"spec.stages[0].from: Invalid value: a stage cannot read itself"},
		},
		"placed with itself": {
			patch: `spec: {stages: [{name: a, from: [ingress], placement: {with: a}, validate: {}}]}`,
			want:  []string{"spec.stages[0].placement: Invalid value: with must name another stage"},
		},
	}
}

func stageRefusals() map[string]refusal {
	const labelName = "metadata.name must be at most 63 lower-case letters, digits and -, without dots: it becomes part of subjects, streams and labels"
	return map[string]refusal{
		"name with dot":           {patch: `metadata: {name: a.b}`, want: []string{"Invalid value: " + labelName}},
		"no pipeline":             {patch: `spec: {pipelineRef: null}`, want: []string{"spec.pipelineRef: Required value"}},
		"no name of pipeline":     {patch: `spec: {pipelineRef: {name: null}}`, want: []string{"spec.pipelineRef.name: Required value"}},
		"named ingress by object": {patch: `metadata: {name: ingress}`, want: []string{"spec: Invalid value: ingress is the name of the pipeline's input: choose another"}},
		"named ingress":           {patch: `spec: {name: ingress}`, want: []string{"spec: Invalid value: ingress is the name of the pipeline's input: choose another"}},
		"reads itself by object":  {patch: `spec: {from: [base]}`, want: []string{"spec.from: Invalid value: a stage cannot read itself"}},
		"reads itself":            {patch: `spec: {name: a, from: [a/dead-letter]}`, want: []string{"spec.from: Invalid value: a stage cannot read itself"}},
		"placed with itself":      {patch: `spec: {name: a, placement: {with: a}}`, want: []string{"spec.placement: Invalid value: with must name another stage"}},
		"placed with its object":  {patch: `spec: {placement: {with: base}}`, want: []string{"spec.placement: Invalid value: with must name another stage"}},
		"begins at a time, with placement": {
			patch: `spec: {startTime: "2026-12-01T09:00:00Z", placement: {with: check}}`,
			want:  []string{"spec.startTime: Invalid value: a stage with placement reads no stream: leave startTime or placement out"},
		},
		"ends before it begins": {
			patch: `spec: {startTime: "2026-12-01T09:00:00Z", endTime: "2026-12-01T09:00:00Z"}`,
			want:  []string{"spec.endTime: Invalid value: must be later than startTime, which must be set"},
		},
		"ends and does not begin": {
			patch: `spec: {endTime: "2026-12-01T09:00:00Z"}`, want: []string{"spec.endTime: Invalid value: must be later than startTime, which must be set"},
		},
		"begins at no time": {patch: `spec: {startTime: yesterday}`, want: []string{`spec.startTime: Invalid value: "yesterday": spec.startTime in body must be of type date-time: "yesterday"`}},
		"replicas":          {patch: `spec: {replicas: 1001}`, want: []string{"spec.replicas: Invalid value: 1001: spec.replicas in body should be less than or equal to 1000"}},
		"negative replicas": {patch: `spec: {replicas: -1}`, want: []string{
			"spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
		}},
		"from in capitals": {patch: `spec: {from: [Check]}`, want: []string{`spec.from[0]: Invalid value: "Check": spec.from[0] in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z]([-a-z0-9]*[a-z0-9])?)?$'`}},
	}
}
