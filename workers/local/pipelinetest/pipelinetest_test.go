package pipelinetest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"millrace.dev/millrace/workers/analyze"
	comparestage "millrace.dev/millrace/workers/compare"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/experiment"
	"millrace.dev/millrace/workers/gather"
	"millrace.dev/millrace/workers/join"
	"millrace.dev/millrace/workers/local"
	"millrace.dev/millrace/workers/route"
	"millrace.dev/millrace/workers/sink"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/transform"
	"millrace.dev/millrace/workers/validate"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

func registry(k local.Kubernetes) stage.Registry {
	choice := enrichkubernetes.Choice{Snapshot: k.Snapshot}
	return stage.NewRegistry(validate.NewFactory(), enrich.NewFactory(choice.Open), correlate.NewFactory(), analyze.NewFactory(),
		route.NewFactory(), transform.NewFactory(), experiment.NewFactory(), comparestage.NewFactory(), gather.NewFactory(), sink.NewFactory(), join.NewFactory())
}

// outcome is what one call of the command did.
type outcome struct {
	stdout, stderr string
	err            error
}

func (o outcome) code() int {
	var coded interface{ ExitCode() int }
	switch {
	case o.err == nil:
		return 0
	case errors.As(o.err, &coded):
		return coded.ExitCode()
	}
	return 1
}

// command calls millrace test.
func command(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd := Command(registry)
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(append([]string{}, args...)) // nil is the command line of the test
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(context.WithoutCancel(t.Context()))
	return outcome{stdout.String(), stderr.String(), err}
}

// write writes a file in dir and returns its path.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const samples = "../../../config/samples"

// TestSamples: each sample has a test, and all of them pass.
func TestSamples(t *testing.T) {
	t.Parallel()
	manifests, err := filepath.Glob(samples + "/*.yaml")
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, m := range manifests {
		name := strings.TrimSuffix(filepath.Base(m), ".yaml")
		if name == "kustomization" {
			continue
		}
		if _, err := os.Stat(filepath.Join(samples, "tests", name+suffix)); err != nil {
			t.Errorf("%s has no test: %v", m, err)
		}
	}
	began := time.Now()
	got := command(t, "-f", samples)
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
	if got.err != nil {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
}

// seconds are how long a test took.
var seconds = regexp.MustCompile(`\(\d+\.\d+s\)`)

// TestFailures: each kind of expectation can fail, and shows what came instead.
func TestFailures(t *testing.T) {
	t.Parallel()
	junit := filepath.Join(t.TempDir(), "junit.xml")
	got := command(t, "-f", "testdata/fails.test.yaml", "--junit", junit)
	if got.code() != 1 || got.err.Error() != "1 of 1 tests failed" {
		t.Errorf("exit code %d: %v", got.code(), got.err)
	}
	text := seconds.ReplaceAllString(got.stdout, "(0.00s)")
	const golden = "testdata/fails.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("-want +got (-update writes it):\n%s", diff)
	}
	for _, member := range []string{
		"steps[1].expect[0].count", "count", "atLeast", "atMost", "events[0]", "events[1]", "events[2]", "exactly[0]", "each[0]", "some[0]", "none[0]", "none[1]",
		"insights[0]", "reasons.undecodable", "reasons.missing_attribute", ".nothingElse", "tests[0].nothingElse",
	} {
		if !strings.Contains(text, member+": ") {
			t.Errorf("%s did not fail", member)
		}
	}
	content, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(content, &suites); err != nil || suites.Failures != 1 || len(suites.Suites) != 1 || len(suites.Suites[0].Cases) != 1 {
		t.Fatalf("%v\n%s", err, content)
	}
	failure := suites.Suites[0].Cases[0].Failure
	if failure == nil || !strings.HasPrefix(failure.Message, "testdata/fails.test.yaml:") || !strings.Contains(failure.Text, "the nearest of") {
		t.Errorf("%+v", failure)
	}
}

// TestClock: a window of five minutes closes when the clock says so, and not before, and that takes no five minutes.
func TestClock(t *testing.T) {
	t.Parallel()
	began := time.Now()
	got := command(t, "-f", "testdata/windows.test.yaml", "-o", "json")
	if got.err != nil {
		t.Fatalf("%v\n%s", got.err, got.stdout)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %s", took)
	}
	var r Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || r.Passed != len(r.Tests) || r.Failed != 0 || r.Passed < 2 {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestRecord: what happens is written as a test that passes, also of a test, and fails once the pipeline is another one.
func TestRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest, err := os.ReadFile("testdata/windows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "p.yaml", string(manifest))
	write(t, dir, "events.ndjson", `{"id":"1","source":"shop/cart","type":"app.log","severitytext":"ERROR","body":"refused","attributes":{"n":1.5,"yes":true,"on":"yes"}}
{"id":"2","source":"shop/cart","type":"app.log","body":"served","time":"2026-01-01T00:00:00Z"}
{"id":"3","source":"shop/cart","type":"bad"}
{"specversion":"1.0","id":"4","source":"shop/cart","type":"order","dataschema":"https://example.com/s","data":{"total":9007199254740993}}
no event
`)
	at := filepath.Join(dir, "p.test.yaml")
	got := command(t, "--record", at, "-f", filepath.Join(dir, "p.yaml"), "--input", filepath.Join(dir, "events.ndjson"), "--advance", "6m")
	if got.err != nil {
		t.Fatal(got.err)
	}
	content, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"file: \"events.ndjson\"", "port: \"pick/loud\"", "undecodable: 1", "body: \"refused\"", "dataschema: \"https://example.com/s\"", "total: 9007199254740993", "advance: \"6m0s\"", "nothingElse: true"} {
		if !strings.Contains(string(content), want) {
			t.Errorf("the file lacks %s:\n%s", want, content)
		}
	}
	if got := command(t, "-f", dir); got.err != nil {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
	again := filepath.Join(dir, "again.test.yaml")
	if got := command(t, "--record", again, "-f", at); got.err != nil {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
	second, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(content), string(second)); diff != "" {
		t.Errorf("recorded again it is another test: -first +second\n%s", diff)
	}
	write(t, dir, "p.yaml", strings.Replace(string(manifest), ">= 17", ">= 18", 1))
	if got := command(t, "-f", at); got.code() != 1 || !strings.Contains(got.stdout, "pick/loud") {
		t.Errorf("another pipeline passes: %v\n%s", got.err, got.stdout)
	}
}

// TestRecordKeeps: what a person has written is not lost.
func TestRecordKeeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest := write(t, dir, "c.yaml", chained)
	const text = "apiVersion: test.millrace.dev/v1alpha1\nkind: PipelineTest\nmanifests: [c.yaml]\ntests:\n- name: a\n  skip: [keep]\n  steps:\n  - send: [{id: a, source: a, type: a}]\n"
	const between = "  - expect: [{port: pick/quiet, count: 1}]\n"
	steps := write(t, dir, "steps.test.yaml", text+between+"  nothingElse: true\n")
	ends := write(t, dir, "ends.test.yaml", text+"  nothingElse: true # what I think\n")
	fails := write(t, dir, "fails.test.yaml", strings.Replace(text, "send: [", "to: pick\n    send: [", 1)+"  nothingElse: true\n")
	for name, tc := range map[string]struct {
		args []string
		kept string
		want string
	}{
		"expect in a step": {[]string{"--record", filepath.Join(dir, "new.test.yaml"), "-f", steps}, steps, "steps.test.yaml:9: tests[0].steps[1].expect: is between steps, and --record writes what is expected in the end: take it out"},
		"another file":     {[]string{"--record", steps, "-f", ends}, steps, "--record " + steps + ": is there already"},
		"the manifest":     {[]string{"--record", manifest, "-f", manifest, "--input", ends}, manifest, "--record " + manifest + ": is there already"},
		"no input":         {[]string{"--record", filepath.Join(dir, "new.test.yaml"), "-f", manifest}, manifest, "--record of a manifest needs --input"},
		"not valid":        {[]string{"--record", fails, "-f", fails}, fails, "the tests are not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(tc.kept)
			if err != nil {
				t.Fatal(err)
			}
			if got := command(t, tc.args...); got.err == nil || !strings.Contains(got.err.Error(), tc.want) {
				t.Errorf("%v, want %s", got.err, tc.want)
			}
			if after, err := os.ReadFile(tc.kept); err != nil || !bytes.Equal(before, after) {
				t.Errorf("%v: it is another file now:\n%s", err, after)
			}
		})
	}
	if got := command(t, "--record", ends, "-f", ends); got.err != nil {
		t.Errorf("its own file: %v", got.err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 4 {
		t.Errorf("%v: %v", err, files)
	}
	recorded := filepath.Join(dir, "recorded.test.yaml")
	got := command(t, "--record", recorded, "-f", manifest, "--input", write(t, dir, "events.ndjson", `{"id":"a","source":"a","type":"a"}`))
	if text, err := os.ReadFile(recorded); got.err != nil || err != nil || !strings.Contains(string(text), "skip:\n      - \"keep\"") {
		t.Errorf("of a pipeline with a sink: %v %v\n%s", got.err, err, text)
	}
}

// chained is a pipeline with a stage that runs inside of another one, and with a sink.
const chained = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: c}
spec:
  stages:
  - {name: check, from: [ingress], validate: {}}
  - name: pick
    from: [check]
    placement: {with: check}
    route:
      rules: [{port: loud, expression: event.severity >= 17}]
      default: quiet
  - name: keep
    from: [pick/loud]
    sink: {http: {url: "http://127.0.0.1:1/"}}
`

// TestChained: a chained stage is skipped with its head, and events are sent to its ports then.
func TestChained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "c.yaml", chained)
	write(t, dir, "c.test.yaml", `apiVersion: test.millrace.dev/v1alpha1
kind: PipelineTest
manifests: [`+filepath.Join(dir, "c.yaml")+`]
tests:
- name: the head is skipped
  skip: [check, keep]
  steps:
  - {to: pick/loud, send: [{id: a, source: a, type: a}]}
  - send: [{id: b, source: a, type: a}]
  expect:
  - {port: pick/loud, count: 1}
  - {port: pick/quiet, count: 0}
`)
	if got := command(t, "-f", dir); got.err != nil {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
}

// TestInterrupted: no test begins once the command is to end, and its error says so.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := 0
	cmd := Command(func(k local.Kubernetes) stage.Registry {
		begun++
		cancel()
		return registry(k)
	})
	var stdout bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetArgs([]string{"-f", "testdata/windows.test.yaml", "--parallel", "1"})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	if err := cmd.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, stdout.String())
	}
	if begun != 1 {
		t.Errorf("%d tests began", begun)
	}
}

// TestProblems: what is wrong in a file is told with its line and field.
func TestProblems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest, err := os.ReadFile("testdata/windows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "p.yaml", string(manifest))
	write(t, dir, "c.yaml", chained)
	l, err := newLoader()
	if err != nil {
		t.Fatal(err)
	}
	problemsOf := func(t *testing.T, file string) string {
		t.Helper()
		_, problems, err := l.load(t.Context(), []string{file})
		if err != nil || len(problems) == 0 {
			t.Fatalf("no problems: %v", err)
		}
		return errProblems(problems).Error()
	}
	const head = "apiVersion: test.millrace.dev/v1alpha1\nkind: PipelineTest\n"
	one := func(lines string) string {
		return head + "tests:\n- name: a\n  steps:\n  - send: [{id: a}]\n" + lines
	}
	for name, tc := range map[string]struct{ content, want string }{
		"no YAML":            {"tests: [", "p.test.yaml:1: is not YAML: did not find expected node content"},
		"another kind":       {"apiVersion: v1\nkind: Pod\n", "p.test.yaml:2: kind: is Pod of v1: want kind: PipelineTest of apiVersion: test.millrace.dev/v1alpha1"},
		"no version":         {"kind: PipelineTest\n", "p.test.yaml:1: apiVersion: is missing: apiVersion: test.millrace.dev/v1alpha1"},
		"nothing":            {"# nothing\n", "p.test.yaml:1: holds no PipelineTest"},
		"unknown field":      {one("  expect: [{port: check, cuont: 1}]\n"), `p.test.yaml:7: tests[0].expect[0].cuont: unknown field "tests[0].expect[0].cuont"`},
		"wrong type":         {one("  expect:\n  - port: check\n    count: many\n"), `p.test.yaml:9: tests[0].expect[0].count: Invalid value: "string": tests[0].expect[0].count in body must be of type integer: "string"`},
		"no steps":           {head + "tests:\n- name: a\n  expect: [{port: check, count: 1}]\n", "p.test.yaml:4: tests[0].steps: Required value"},
		"no stage":           {one("  expect:\n  - {port: chekc, count: 1}\n"), `p.test.yaml:8: tests[0].expect[0].port: the pipeline has no stage "chekc": its stages are check, pick, correlate`},
		"no port":            {one("  expect:\n  - {port: pick/silent, count: 1}\n"), `p.test.yaml:8: tests[0].expect[0].port: stage pick has no port "silent": its ports are dead-letter, loud, quiet`},
		"expects nothing":    {one(""), "p.test.yaml:4: tests[0]: expects nothing: a test without expect or nothingElse cannot fail"},
		"says nothing":       {one("  expect:\n  - {port: check}\n"), "p.test.yaml:8: tests[0].expect[0]: says nothing of check: add count, events, insights, reasons, each, some, none or nothingElse"},
		"CEL":                {one("  expect:\n  - port: check\n    each:\n    - event.idd == ''\n"), "p.test.yaml:10: tests[0].expect[0].each[0]: column 6: undefined field 'idd'"},
		"CEL, dead letters":  {one("  expect:\n  - {port: check/dead-letter, each: [\"event.id == ''\"]}\n"), "p.test.yaml:8: tests[0].expect[0]: has CEL conditions about dead letters, which may be no events: use reasons or events"},
		"alias":              {one("  expect:\n  - port: check\n    events:\n    - {message: a}\n"), "p.test.yaml:10: tests[0].expect[0].events[0].message: is an alias that ports do not carry: write body"},
		"two kinds of step":  {one("  - {advance: 1s, file: p.yaml}\n  nothingElse: true\n"), "p.test.yaml:7: tests[0].steps[1]: is 2 of send, file, advance and expect: make each a step of its own"},
		"no file":            {one("  - file: none.ndjson\n  nothingElse: true\n"), "p.test.yaml:7: tests[0].steps[1].file: stat " + dir + "/none.ndjson: no such file or directory"},
		"no time":            {head + "tests:\n- name: a\n  start: yesterday\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n", `p.test.yaml:5: tests[0].start: "yesterday" is no time: write it as 2026-01-31T12:00:00Z`},
		"no duration":        {one("  - advance: soon\n  nothingElse: true\n"), `p.test.yaml:7: tests[0].steps[1].advance: Invalid value: "soon": tests[0].steps[1].advance in body should match '^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$'`},
		"no advance":         {one("  - advance: 0s\n  nothingElse: true\n"), `p.test.yaml:7: tests[0].steps[1].advance: "0s": want more than nothing, such as 5m`},
		"no such skip":       {one("  skip: [archive]\n  nothingElse: true\n"), `p.test.yaml:7: tests[0].skip[0]: the pipeline has no stage "archive": its stages are check, pick, correlate`},
		"text to a port":     {one("  - to: check\n    send: [text]\n  nothingElse: true\n"), "p.test.yaml:8: tests[0].steps[1].send[0]: is a text: check takes events alone"},
		"to dead letters":    {one("  - to: check/dead-letter\n    send: [{id: a}]\n  nothingElse: true\n"), "p.test.yaml:7: tests[0].steps[1].to: check/dead-letter does not carry events as stages hand them on: send to a port such as out"},
		"insights elsewhere": {one("  expect:\n  - {port: check, insights: [{rule: a}]}\n"), "p.test.yaml:8: tests[0].expect[0].insights: check carries no insights: they are on port insights of a stage"},
		"reasons elsewhere":  {one("  expect:\n  - {port: check, reasons: {a: 1}}\n"), "p.test.yaml:8: tests[0].expect[0].reasons: check carries no dead letters: they are on port dead-letter of a stage"},
		"twice":              {one("  nothingElse: true\n- name: a\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n"), `p.test.yaml:8: tests[1].name: "a" is the name of tests[0] already`},
		"two clusters":       {head + "kubernetes: {}\ntests:\n- name: a\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n", "p.test.yaml:3: kubernetes: wants file or objects, one of both"},
		"skips chained":      {head + "manifests: [c.yaml]\ntests:\n- name: a\n  skip: [keep, pick]\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n", "p.test.yaml:6: tests[0].skip[1]: pick runs in the workers of stage check: skip check"},
		"to chained":         {head + "manifests: [c.yaml]\ntests:\n- name: a\n  skip: [keep]\n  steps:\n  - to: pick/quiet\n    send: [{id: a}]\n  nothingElse: true\n", "p.test.yaml:8: tests[0].steps[0].to: pick runs in the workers of stage check: skip check"},
		"a sink":             {head + "manifests: [c.yaml]\ntests:\n- name: a\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n", "p.test.yaml:5: tests[0]: sink keep would write to its target: add skip: [keep], or sinks: Write to have it write"},
		"no manifest":        {head + "manifests: [none.yaml]\ntests:\n- name: a\n  steps: [{send: [{id: a}]}]\n  nothingElse: true\n", "p.test.yaml:3: manifests: read the manifest: stat " + dir + "/none.yaml: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, dir, "p.test.yaml", tc.content)
			if got := problemsOf(t, file); got != "the tests are not valid:\n"+dir+"/"+tc.want {
				t.Errorf("\ngot  %s\nwant %s", got, tc.want)
			}
		})
	}
	bad := write(t, dir, "q.yaml", strings.Replace(string(manifest), "validate:", "validat:", 1))
	write(t, dir, "q.test.yaml", one("  nothingElse: true\n"))
	if got := problemsOf(t, filepath.Join(dir, "q.test.yaml")); !strings.Contains(got, bad+":8: spec.stages[0].validat: unknown field") {
		t.Errorf("a wrong manifest: %v", got)
	}
	write(t, dir, "r.test.yaml", one("  nothingElse: true\n"))
	if got := command(t, "-f", filepath.Join(dir, "r.test.yaml")); got.code() != 1 || !strings.Contains(got.err.Error(), "r.test.yaml:1: manifests: is missing: there is no r.yaml beside the test or in the folder above") {
		t.Errorf("no manifest: %v", got.err)
	}
}

// TestUsage: a wrong command line is exit code 2.
func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no file":         {nil, "-f FILE_OR_DIR is required: a test file, or a folder of such"},
		"no such file":    {[]string{"-f", "none"}, "read the tests: stat none: no such file or directory"},
		"empty folder":    {[]string{"-f", t.TempDir()}, "has no file that ends in .test.yaml"},
		"no expression":   {[]string{"-f", "testdata", "--run", "("}, "--run: error parsing regexp"},
		"nothing matches": {[]string{"-f", "testdata", "--run", "never"}, "--run never: no test matches"},
		"no format":       {[]string{"-f", "testdata", "-o", "xml"}, "-o xml: want text or json"},
		"no slot":         {[]string{"-f", "testdata", "--parallel", "0"}, "--parallel 0: must be at least 1"},
		"input alone":     {[]string{"-f", "testdata", "--input", "a"}, "--input and --advance need --record FILE"},
		"advance alone":   {[]string{"-f", "testdata", "--record", "a", "--advance", "1s"}, "--advance needs --input FILE"},
		"record and run":  {[]string{"-f", "testdata", "--record", "a", "--run", "a"}, "--record goes with none of --run, --junit and -o"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, tc.args...)
			if got.code() != 2 || !strings.Contains(got.err.Error(), tc.want) {
				t.Errorf("exit code %d: %v, want %s", got.code(), got.err, tc.want)
			}
		})
	}
}

// TestTimeout: a test whose pipeline does not drain says which stage waits, and for what.
func TestTimeout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.yaml", `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  stages:
  - {name: check, from: [ingress], validate: {}}
  - name: hook
    from: [check]
    sink: {http: {url: "http://127.0.0.1:1/"}}
`)
	write(t, dir, "p.test.yaml", `apiVersion: test.millrace.dev/v1alpha1
kind: PipelineTest
tests:
- name: waits
  sinks: Write
  timeout: 3s
  steps:
  - send: [{id: "1", source: a, type: a}]
  nothingElse: true
- name: does not wait
  skip: [hook]
  steps:
  - send: [{id: "1", source: a, type: a}]
  expect: [{port: check, count: 1}]
`)
	got := command(t, "-f", dir)
	const want = "p.test.yaml:8: tests[0].steps[0]: stage hook has not processed all that is stored for it in time"
	if got.code() != 1 || !strings.Contains(got.stdout, "not over within 3s: "+filepath.Join(dir, want)) || !strings.Contains(got.stdout, "ok   "+dir) {
		t.Errorf("exit code %d:\n%s", got.code(), got.stdout)
	}
}

// TestPorts: events that are sent to a port of a stage are read there as if the stage had written them; the stage itself does not run.
func TestPorts(t *testing.T) {
	t.Parallel()
	got := command(t, "-f", "testdata/ports.test.yaml")
	if got.err != nil {
		t.Errorf("%v\n%s", got.err, got.stdout)
	}
}

// TestAssign: descriptions get events of their own, as many as can be.
func TestAssign(t *testing.T) {
	fits := func(pairs ...[2]int) func(int, int) bool {
		return func(w, e int) bool {
			for _, p := range pairs {
				if p == [2]int{w, e} {
					return true
				}
			}
			return false
		}
	}
	for name, tc := range map[string]struct {
		inOrder bool
		fits    func(int, int) bool
		want    []int
	}{
		"a later one takes what an earlier one can do without": {false, fits([2]int{0, 0}, [2]int{0, 1}, [2]int{1, 0}), []int{1, 0}},
		"one event for two": {false, fits([2]int{0, 0}, [2]int{1, 0}), []int{0, -1}},
		"in order":          {true, fits([2]int{0, 0}, [2]int{1, 1}), []int{0, 1}},
		"out of order":      {true, fits([2]int{0, 1}, [2]int{1, 0}), []int{1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, assign(2, 2, tc.inOrder, tc.fits)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestCompare: numbers compare by value, times as moments, lists as a whole, and null says that a member is not set.
func TestCompare(t *testing.T) {
	got := view{"n": json.Number("3"), "big": json.Number("9007199254740993"), "time": "2026-01-01T00:00:00Z", "list": []any{"a", map[string]any{"b": true, "c": "d"}}, "ingesttime": "2026-01-01T00:00:00Z"}
	for name, tc := range map[string]struct {
		want  string
		exact bool
		diff  []string
	}{
		"alike":            {`{"n":3.0,"time":"2026-01-01T01:00:00+01:00","list":["a",{"b":true}],"none":null}`, false, nil},
		"another number":   {`{"n":4}`, false, []string{"n"}},
		"a large number":   {`{"big":9007199254740993}`, false, nil},
		"one beside it":    {`{"big":9007199254740992}`, false, []string{"big"}},
		"text, no number":  {`{"n":"3"}`, false, []string{"n"}},
		"a shorter list":   {`{"list":["a"]}`, false, []string{"list"}},
		"inside of a list": {`{"list":["a",{"c":"e"}]}`, false, []string{"list[1].c"}},
		"is set":           {`{"n":null}`, false, []string{"n"}},
		"exact":            {`{"n":3,"time":"2026-01-01T00:00:00Z"}`, true, []string{"big", "list"}},
		"exact, whole":     {`{"n":3,"big":9007199254740993,"time":"2026-01-01T00:00:00Z","list":["a",{"b":true,"c":"d"}]}`, true, nil},
		"exact inside":     {`{"n":3,"big":9007199254740993,"time":"2026-01-01T00:00:00Z","list":["a",{"b":true}]}`, true, []string{"list[1].c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var want description
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			var diff []string
			for _, d := range compare(want, got, tc.exact).differences {
				diff = append(diff, d.path)
			}
			if d := cmp.Diff(tc.diff, diff); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
