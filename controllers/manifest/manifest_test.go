package manifest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/manifest"
)

const good = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  stages:
  - {name: a, from: [ingress], validate: {}}
`

// alone is a Stage of a Pipeline that is in no file, from the line of its name on.
func alone(spec string) string {
	return "apiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: {name: s}\nspec:\n  pipelineRef: {name: other}\n" + spec
}

// TestProblems gives every kind of problem its file, line, path and message. What the API
// server refuses is tested against a real one in test/api.
func TestProblems(t *testing.T) {
	tests := map[string]struct {
		content string
		want    []string
	}{
		"fine":                      {good, nil},
		"fine with a comment":       {"# hello\n---\n" + good + "--- # end\n", nil},
		"fine in JSON":              {`{"apiVersion":"millrace.dev/v1alpha1","kind":"Pipeline","metadata":{"name":"p"},"spec":{"stages":[{"name":"a","from":["ingress"],"validate":{}}]}}`, nil},
		"empty":                     {"", []string{"f.yaml:1: holds no Pipeline and no Stage"}},
		"only other objects":        {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", []string{"f.yaml:1: holds no Pipeline and no Stage"}},
		"other objects beside":      {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n" + good, nil},
		"no YAML":                   {good + "---\na: b\n  c: [\n", []string{"f.yaml:9: is not YAML: mapping values are not allowed in this context"}},
		"tab":                       {"a:\n\tb: 1\n", []string{"f.yaml:2: is not YAML: found character that cannot start any token"}},
		"no object":                 {"- a\n- b\n", []string{"f.yaml:1: is no object: begin with apiVersion and kind"}},
		"no apiVersion":             {"kind: Pipeline\n", []string{"f.yaml:1: apiVersion: is missing: apiVersion: millrace.dev/v1alpha1"}},
		"no kind":                   {"apiVersion: millrace.dev/v1alpha1\n", []string{"f.yaml:1: kind: is missing: kind: Pipeline or kind: Stage"}},
		"unknown version":           {"apiVersion: millrace.dev/v2\nkind: Pipeline\n", []string{"f.yaml:1: apiVersion: millrace.dev/v2 is unknown: this version of millrace knows millrace.dev/v1alpha1"}},
		"unknown kind":              {"apiVersion: millrace.dev/v1alpha1\nkind: Pipelines\n", []string{`f.yaml:2: kind: "Pipelines" is unknown: the kinds are Pipeline and Stage`}},
		"no name":                   {strings.Replace(good, "{name: p}", "{labels: {a: b}}", 1), []string{"f.yaml:3: metadata.name: Required value: name or generateName is required"}},
		"unknown field of metadata": {strings.Replace(good, "{name: p}", "{name: p, label: x}", 1), []string{`f.yaml:3: metadata.label: unknown field "metadata.label"`}},
		"metadata of another type":  {strings.Replace(good, "{name: p}", "{name: p, labels: [x]}", 1), []string{"f.yaml:3: metadata: json: cannot unmarshal array into Go struct field ObjectMeta.labels of type map[string]string"}},
		"key twice":                 {strings.Replace(good, "spec:\n", "spec:\n  suspend: true\n  suspend: false\n", 1), []string{`f.yaml:6: key "suspend" is set already on line 5`}},
		"unknown field":             {strings.Replace(good, "spec:\n", "spec:\n  partition: 3\n", 1), []string{`f.yaml:5: spec.partition: unknown field "spec.partition"`}},
		"name that the server makes": {
			strings.Replace(good, "{name: p}", "{generateName: p-}", 1) + "---\n" + strings.Replace(good, "{name: p}", "{generateName: p-}", 1),
			[]string{
				"f.yaml:3: metadata.name: is missing: lint needs it instead of generateName, since the names of streams and Stages follow from it",
				"f.yaml:10: metadata.name: is missing: lint needs it instead of generateName, since the names of streams and Stages follow from it",
			},
		},
		"name of an attached stage that the server makes": {
			good + "---\n" + strings.NewReplacer("{name: s}", "{generateName: s-}", "{name: other}", "{name: p}").Replace(alone("  from: [a]\n  validate: {rules: [{expression: event.nope}]}\n")),
			[]string{
				"f.yaml:10: metadata.name: is missing: lint needs it instead of generateName, since the names of streams and Stages follow from it",
				`f.yaml:14: spec.validate.rules[0].expression: Invalid value: "event.nope": column 6: undefined field 'nope'`,
			},
		},
		"line of an index": {
			strings.Replace(good, "  - {name: a,", "  - name: b\n    from:\n    - a\n    - a/left\n    validate: {}\n  - {name: a,", 1),
			[]string{`f.yaml:9: spec.stages[0].from[1]: Invalid value: "a/left": stage "a" (validate) has no port "left"; its ports are out, dead-letter`},
		},
		"line of what is missing": {
			strings.Replace(good, "validate: {}", "validate: {rules: [{message: x}]}", 1),
			[]string{"f.yaml:6: spec.stages[0].validate.rules[0].expression: Required value"},
		},
		"line behind an alias": {
			strings.Replace(good, "- {name: a, from: [ingress], validate: {}}", "- name: a\n    from: [ingress]\n    validate: &v\n      dedupe: {window: 2h}\n  - name: b\n    from: [a]\n    validate: *v", 1),
			[]string{
				`f.yaml:9: spec.stages[0].validate.dedupe.window: Invalid value: "2h": must be a duration from 1s to 1h`,
				`f.yaml:9: spec.stages[1].validate.dedupe.window: Invalid value: "2h": must be a duration from 1s to 1h`,
			},
		},
		"second document": {
			good + "---\n" + strings.Replace(good, "[ingress]", "[x]", 1),
			[]string{
				"f.yaml:10: metadata.name: Pipeline default/p is defined already in f.yaml:1",
				"f.yaml:12: spec.stages: Invalid value: from names a stage that the pipeline does not have: it takes ingress, <stage> and <stage>/<port>",
			},
		},
		"list": {
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: millrace.dev/v1alpha1\n  kind: Pipeline\n  metadata: {name: p}\n  spec:\n    stages:\n    - {name: a, from: [ingress], brew: {}, validate: {}}\n",
			[]string{`f.yaml:9: spec.stages[0].brew: unknown field "spec.stages[0].brew"`},
		},
		"document behind the dashes": {
			good + "--- {apiVersion: millrace.dev/v1alpha1, kind: Pipeline, metadata: {name: q}, spec: {nonsense: 1}}\n",
			[]string{"f.yaml:7: is a second document: begin it behind a line of three dashes and nothing else"},
		},
		"document behind dots": {
			good + "...\napiVersion: millrace.dev/v1alpha1\nkind: Pipeline\nspec: {nonsense: 1}\n",
			[]string{"f.yaml:7: is a second document: begin it behind a line of three dashes and nothing else"},
		},
		"no YAML behind dots": {
			good + "...\na: b\n  c: [\n", []string{"f.yaml:7: is a second document: begin it behind a line of three dashes and nothing else"},
		},
		"dots at the end": {good + "...\n---\n" + strings.Replace(good, "name: p", "name: q", 1) + "...\n# end\n", nil},
		"JSON behind JSON": {
			`{"apiVersion":"v1","kind":"Secret"} {"apiVersion":"v1","kind":"Secret"}`, []string{"f.yaml:1: is a second document: begin it behind a line of three dashes and nothing else"},
		},
		"list of what is no object": {
			good + "---\napiVersion: v1\nkind: List\nitems:\n- kind: Pipeline\n  metadata: {name: q}\n- apiVersion: millrace.dev/v1alpha1\n- 3\n-\n",
			[]string{
				"f.yaml:11: apiVersion: is missing: apiVersion: millrace.dev/v1alpha1",
				"f.yaml:13: kind: is missing: kind: Pipeline or kind: Stage",
				"f.yaml:14: is no object: begin with apiVersion and kind",
				"f.yaml:15: is no object: begin with apiVersion and kind",
			},
		},
		"list in a list": {
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: millrace.dev/v1alpha1, kind: Pipelines}\n",
			[]string{`f.yaml:7: kind: "Pipelines" is unknown: the kinds are Pipeline and Stage`},
		},
		"list without a list": {
			good + "---\napiVersion: v1\nkind: List\nitems: {apiVersion: millrace.dev/v1alpha1, kind: Pipeline}\n",
			[]string{"f.yaml:10: items: is no list: write each object as an element of it"},
		},
		"list behind an alias": {
			"x: &x\n  items:\n  - {apiVersion: millrace.dev/v1alpha1, kind: Pipelines}\n<<: *x\napiVersion: v1\nkind: List\n",
			[]string{`f.yaml:6: kind: "Pipelines" is unknown: the kinds are Pipeline and Stage`},
		},
		"expression": {
			strings.Replace(good, "validate: {}", `validate: {rules: [{expression: "event.nope"}]}`, 1),
			[]string{`f.yaml:6: spec.stages[0].validate.rules[0].expression: Invalid value: "event.nope": column 6: undefined field 'nope'`},
		},
		"expression beside a wrong duration": {
			strings.Replace(good, "validate: {}", `validate: {dedupe: {window: 5d}, rules: [{expression: "event.nope"}]}`, 1),
			[]string{
				`f.yaml:6: spec.stages[0].validate.dedupe.window: Invalid value: "5d": must be a duration from 1s to 1h`,
				`f.yaml:6: spec.stages[0].validate.rules[0].expression: Invalid value: "event.nope": column 6: undefined field 'nope'`,
			},
		},
		"attached stage": {
			good + "---\napiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: {name: s}\nspec:\n  pipelineRef: {name: p}\n  from: [b]\n  enrich: {trace: {}}\n",
			[]string{`f.yaml:13: spec.from[0]: Not found: "b": there is no stage "b"; stages are a, s`},
		},
		"stage of another namespace is not attached": {
			good + "---\napiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: {name: s, namespace: other}\nspec:\n  pipelineRef: {name: p}\n  from: [b]\n  enrich: {trace: {}}\n",
			nil,
		},
		"cycle": {
			strings.Replace(good, "- {name: a,", "- {name: b, from: [a, c], validate: {}}\n  - {name: c, from: [b], validate: {}}\n  - {name: a,", 1),
			[]string{`f.yaml:7: spec.stages[1].from[0]: Invalid value: "b": closes the cycle b -> c -> b: an event would never leave it`},
		},
		"two pipelines claim one stream": {
			strings.Replace(good, "spec:\n", "spec:\n  ingress: {stream: S}\n", 1) + "---\n" +
				strings.NewReplacer("name: p", "name: q", "spec:\n", "spec:\n  ingress: {stream: S}\n").Replace(good),
			[]string{"f.yaml:11: metadata.name: stream S belongs to Pipeline default/p too (f.yaml:1)"},
		},
		"stage of no pipeline, expression": {
			alone("  name: z\n  from: [a, a/out]\n  validate: {rules: [{expression: event.id}]}\n"),
			[]string{
				`f.yaml:7: spec.from[1]: Duplicate value: "a/out": the stage reads this port already`,
				`f.yaml:8: spec.validate.rules[0].expression: Invalid value: "event.id": yields string, must yield bool`,
			},
		},
		"stage of no pipeline, beside a wrong duration": {
			alone("  from: [a]\n  validate: {dedupe: {window: 5d}, rules: [{expression: \"event.nope\"}]}\n"),
			[]string{
				`f.yaml:7: spec.validate.dedupe.window: Invalid value: "5d": must be a duration from 1s to 1h`,
				`f.yaml:7: spec.validate.rules[0].expression: Invalid value: "event.nope": column 6: undefined field 'nope'`,
			},
		},
		"stage of no pipeline, named like another one's": {
			strings.Replace(alone("  from: [a]\n  validate: {}\n"), "{name: s}", "{name: p-a}", 1) + "---\n" + good,
			[]string{`f.yaml:3: metadata.name: is the name of the Stage object of stage "a" of Pipeline default/p (f.yaml:9): rename one of them`},
		},
		"attached stage named like an inline one's": {
			good + "---\n" + strings.NewReplacer("{name: s}", "{name: p-a}", "{name: other}", "{name: p}").Replace(alone("  name: z\n  from: [a]\n  validate: {}\n")),
			[]string{`f.yaml:10: metadata.name: Duplicate value: "p-a": is the name of the Stage object of stage "a" of the pipeline: rename one of them`},
		},
		"two pipelines with one Stage object, on two servers": {
			strings.NewReplacer("name: p", "name: a", "name: a", "name: b-c").Replace(good) + "---\n" +
				strings.NewReplacer("name: p", "name: a-b", "name: a", "name: c", "spec:\n", "spec:\n  nats: {url: \"nats://b\"}\n").Replace(good),
			[]string{`f.yaml:10: metadata.name: stage "c" needs the Stage object a-b-c, which is that of stage "b-c" of Pipeline default/a too (f.yaml:1)`},
		},
		"two pipelines on two servers": {
			strings.Replace(good, "spec:\n", "spec:\n  ingress: {stream: S}\n", 1) + "---\n" +
				strings.NewReplacer("name: p", "name: q", "spec:\n", "spec:\n  nats: {url: \"nats://b\"}\n  ingress: {stream: S}\n").Replace(good),
			nil,
		},
	}
	checker := newChecker(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems, err := checker.Read(t.Context(), "f.yaml", strings.NewReader(test.content))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestSamples: every sample is fine, alone and with all others.
func TestSamples(t *testing.T) {
	const folder = "../../config/samples"
	samples, err := filepath.Glob(folder + "/*.yaml")
	if err != nil || len(samples) < 5 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}
	checker := newChecker(t)
	for _, sample := range append(samples, folder) {
		if filepath.Base(sample) == "kustomization.yaml" {
			continue
		}
		set, problems, err := checker.Load(t.Context(), sample)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Error(p)
		}
		for i, p := range set.Plans {
			if p == nil || p.Name != set.Pipelines[i].Name {
				t.Errorf("%s: Pipeline %s has no plan", sample, set.Pipelines[i].Name)
			}
		}
	}
}

func TestSet(t *testing.T) {
	content := good + "---\napiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: {name: s}\nspec:\n  pipelineRef: {name: p}\n  from: [a]\n  enrich: {trace: {}}\n" +
		"---\napiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: {name: t}\nspec:\n  pipelineRef: {name: elsewhere}\n  from: [a]\n  enrich: {trace: {}}\n" +
		"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n"
	set, problems, err := newChecker(t).Read(t.Context(), "f.yaml", strings.NewReader(content))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	var stages []string
	for _, s := range set.Plans[0].Stages {
		stages = append(stages, s.Name)
	}
	if diff := cmp.Diff([]string{"a", "s"}, stages); diff != "" {
		t.Errorf("planned stages (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"default/t"}, set.Detached); diff != "" {
		t.Errorf("detached (-want +got)\n%s", diff)
	}
	if len(set.Pipelines) != 1 || len(set.Stages) != 2 || set.Others != 1 {
		t.Errorf("%d pipelines, %d stages, %d others, want 1, 2, 1", len(set.Pipelines), len(set.Stages), set.Others)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fine := write("fine.yaml", good)
	bad := write("bad.yaml", strings.NewReplacer("name: p", "name: q", "validate: {}", "enrich: {}, workers: {min: 0}").Replace(good))
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args       []string
		stdin      string
		out, error string
		code       int
	}{
		"fine":           {args: []string{"-f", fine}, out: "ok: 1 pipeline, 1 stage\n"},
		"standard input": {args: []string{"-f", "-"}, stdin: good, out: "ok: 1 pipeline, 1 stage\n"},
		"dear": {
			args: []string{"-f", "-"}, stdin: strings.Replace(good, "validate: {}", `validate: {rules: [{message: m, expression: "event.attributes.all(k, event.attributes.all(l, k != '' && l != ''))"}]}`, 1),
			out: "warning: pipeline p: spec.stages[0].validate.rules[0].expression: may take 220µs an event (1379 units, more than 1000): " +
				"nest fewer loops, or name the attributes that you look for\nok: 1 pipeline, 1 stage\n",
		},
		"folder": {
			args: []string{"-f", dir}, error: "2 problems", code: 1,
			out: bad + ":6: spec.stages[0].enrich: Invalid value: set at least one of kubernetes, semantic, trace, impact: a member that is not set is off\n" +
				bad + ":6: spec.stages[0].workers: Invalid value: min 0, targetLag and targetDrain need max\n",
		},
		"two files, in their order": {
			args: []string{"-f", fine, "--file", bad}, error: "2 problems", code: 1,
			out: bad + ":6: spec.stages[0].enrich: Invalid value: set at least one of kubernetes, semantic, trace, impact: a member that is not set is off\n" +
				bad + ":6: spec.stages[0].workers: Invalid value: min 0, targetLag and targetDrain need max\n",
		},
		"no such file": {args: []string{"-f", "none.yaml"}, error: "read the manifest: stat none.yaml: no such file or directory", code: 1},
		"empty folder": {args: []string{"-f", dir + "/empty"}, error: "read the manifests: folder " + dir + "/empty has no .yaml, .yml or .json file", code: 1},
		"no file":      {error: "lint needs -f: name a file, a folder, or - for standard input", code: 2},
		"argument":     {args: []string{fine}, error: `lint takes no argument "` + fine + `": name files with -f`, code: 2},
		"unknown flag": {args: []string{"--strict"}, error: "unknown flag: --strict", code: 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := manifest.Command()
			cmd.SetContext(t.Context())
			cmd.SetArgs(test.args)
			cmd.SetIn(strings.NewReader(test.stdin))
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			err := cmd.Execute()
			if diff := cmp.Diff(test.out, out.String()); diff != "" {
				t.Errorf("output (-want +got)\n%s", diff)
			}
			if got := text(err); got != test.error {
				t.Errorf("error is %q, want %q", got, test.error)
			}
			if got := code(err); got != test.code {
				t.Errorf("exit code is %d, want %d", got, test.code)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// code is what main makes of an error.
func code(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ExitCode()
	}
	return 1
}

func newChecker(t *testing.T) *manifest.Checker {
	t.Helper()
	c, err := manifest.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
