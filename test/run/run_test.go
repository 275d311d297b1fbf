package run

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/process"
)

const (
	sample  = "config/samples/observability.yaml"
	chained = "config/samples/chained.yaml"
)

// result is what one call of the binary did.
type result struct {
	code           int
	stdout, stderr string
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := kube.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.BuildBinary(t, harness.BuildOptions{}), args...)
	cmd.Dir = root(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func millrace(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := command(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

type report struct {
	EventsIn   int64 `json:"events_in"`
	Stages     map[string]stageReport
	Insights   int64
	Lost       int64
	Duplicated int64
	Backlog    int64
}

type stageReport struct {
	In, Out, Filtered, Duplicates, Retried, Overflowed, Late int64

	DeadLettered int64            `json:"dead_lettered"`
	Reasons      map[string]int64 `json:"dead_letter_reasons"`
}

func readReport(t *testing.T, path string) report {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// input makes lines of which exact numbers are valid, invalid, no events, and duplicates.
func input(valid, invalid, garbage, duplicates int) string {
	var b strings.Builder
	now := time.Now().UTC()
	for i := range valid {
		at := now.Add(time.Duration(i-valid) * time.Millisecond).Format(time.RFC3339Nano)
		line := fmt.Sprintf(`{"id":"e-%d","source":"/test","type":"app.log","time":%q,"severitynumber":9,"body":"served","entity":{"kind":"Pod","namespace":"shop","name":"p-%d"}}`, i, at, i%50)
		if i%2 == 1 {
			line = fmt.Sprintf(`{"specversion":"1.0","id":"e-%d","source":"/test","type":"app.log","time":%q,"data":{"body":"served"}}`, i, at)
		}
		fmt.Fprintln(&b, line)
		if i < duplicates {
			fmt.Fprintln(&b, line)
		}
		if i < invalid {
			fmt.Fprintf(&b, `{"id":"","source":"/test","type":"app.log","body":"no id %d"}`+"\n", i)
		}
		if i < garbage {
			fmt.Fprintf(&b, "this is no event %d\n", i)
		}
	}
	return b.String()
}

// TestCountsAreExact is the promise of the report: for known input every number is known.
func TestCountsAreExact(t *testing.T) {
	const valid, invalid, garbage, duplicates = 5000, 70, 30, 110
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("in.ndjson"), []byte(input(valid, invalid, garbage, duplicates)), 0o600); err != nil {
		t.Fatal(err)
	}
	got := millrace(t, "", "run", "-f", sample, "--input", path("in.ndjson"), "--until-drained", "--report", path("report.json"),
		"--output", "enrich="+path("enriched.ndjson"), "--output", "validate/dead-letter="+path("dead.ndjson"))
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	r := readReport(t, path("report.json"))
	want := stageReport{
		In: valid + invalid + garbage + duplicates, Out: valid, Duplicates: duplicates, DeadLettered: invalid + garbage,
		Reasons: map[string]int64{"missing_attribute": invalid, "undecodable": garbage},
	}
	if diff := cmp.Diff(want, r.Stages["validate"]); diff != "" {
		t.Errorf("validate (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(stageReport{In: valid, Out: valid}, r.Stages["enrich"]); diff != "" {
		t.Errorf("enrich (-want +got):\n%s", diff)
	}
	for _, name := range []string{"correlate", "analyze"} {
		if r.Stages[name].In != valid {
			t.Errorf("%s: in is %d, want %d", name, r.Stages[name].In, valid)
		}
	}
	if r.EventsIn != want.In || r.Lost != 0 || r.Duplicated != 0 || r.Backlog != 0 {
		t.Errorf("report: %+v", r)
	}
	ids := map[string]int{}
	for _, e := range lines(t, path("enriched.ndjson")) {
		ids[e["id"].(string)]++
	}
	for i := range valid {
		if n := ids[fmt.Sprintf("e-%d", i)]; n != 1 {
			t.Fatalf("event e-%d left enrich %d times", i, n)
		}
	}
	originals := map[string]bool{}
	for _, e := range lines(t, path("dead.ndjson")) {
		originals[e["data"].(map[string]any)["original"].(string)] = true
	}
	for i := range garbage {
		if !originals[fmt.Sprintf("this is no event %d", i)] {
			t.Errorf("garbage line %d is not in the dead letters as received", i)
		}
	}
	if !strings.Contains(got.stdout, "nothing lost, nothing doubled") {
		t.Errorf("summary:\n%s", got.stdout)
	}
}

// TestChainedStagesCountTheSame: what is handed over in memory is counted as what is stored.
func TestChainedStagesCountTheSame(t *testing.T) {
	const valid, invalid, garbage = 5000, 70, 30
	dir := t.TempDir()
	got := millrace(t, input(valid, invalid, garbage, 0), "run", "-f", chained, "--input", "-", "--until-drained",
		"--report", dir+"/report.json", "--output", "analyze="+dir+"/analyzed.ndjson")
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	r := readReport(t, dir+"/report.json")
	want := stageReport{
		In: valid + invalid + garbage, Out: valid, DeadLettered: invalid + garbage,
		Reasons: map[string]int64{"missing_attribute": invalid, "undecodable": garbage},
	}
	if diff := cmp.Diff(want, r.Stages["validate"]); diff != "" {
		t.Errorf("validate (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(stageReport{In: valid, Out: valid}, r.Stages["enrich"]); diff != "" {
		t.Errorf("enrich (-want +got):\n%s", diff)
	}
	for _, name := range []string{"correlate", "analyze"} {
		if r.Stages[name].In != valid {
			t.Errorf("%s: in is %d, want %d", name, r.Stages[name].In, valid)
		}
	}
	if n := int64(len(lines(t, dir+"/analyzed.ndjson"))); r.Stages["analyze"].Out != n || r.Lost != 0 || r.Duplicated != 0 {
		t.Errorf("report: %+v, %d events left analyze", r, n)
	}
}

func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []map[string]any
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e map[string]any
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v: %s", path, err, s.Text())
		}
		out = append(out, e)
	}
	return out
}

func TestStandardInput(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	got := millrace(t, input(100, 0, 0, 0), "run", "-f", sample, "--input", "-", "--until-drained", "--report", report)
	if r := readReport(t, report); got.code != 0 || r.Stages["enrich"].Out != 100 {
		t.Errorf("exit code %d, report %+v\n%s", got.code, r, got.stderr)
	}
}

// TestHugeAndEmptyLines: what no event can be is dead-lettered, not fatal.
func TestHugeAndEmptyLines(t *testing.T) {
	huge := `{"id":"huge","source":"/test","type":"t","body":"` + strings.Repeat("x", 10<<20) + `"}`
	report := filepath.Join(t.TempDir(), "report.json")
	got := millrace(t, "\n\n"+huge+"\n"+input(10, 0, 0, 0)+"   \n\x00\xff\n", "run", "-f", sample, "--input", "-", "--until-drained", "--report", report)
	r := readReport(t, report)
	if got.code != 0 || r.Stages["validate"].Out != 10 || r.Stages["validate"].DeadLettered != 2 || r.Lost != 0 {
		t.Errorf("exit code %d, report %+v\n%s", got.code, r, got.stderr)
	}
}

// TestInterruptDrains stops a run that would go on for ever: what it took is processed.
func TestInterruptDrains(t *testing.T) {
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := command(t, "run", "-f", sample, "--listen", listen, "--report", report)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var js jetstream.JetStream
	harness.Eventually(t, 30*time.Second, func() error {
		nc, err := nats.Connect("nats://" + listen)
		if err != nil {
			return err
		}
		t.Cleanup(nc.Close)
		js, err = jetstream.New(nc)
		return err
	})
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := js.Publish(t.Context(), "events.raw.demo", []byte(`{"id":"1","source":"demo","type":"demo.hello"}`))
		return err
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if r := readReport(t, report); r.Stages["enrich"].Out != 1 || r.Lost != 0 || r.Duplicated != 0 {
		t.Errorf("report: %+v", r)
	}
}

// TestKilledRunGoesOn kills a run and starts it again on the same store: nothing is lost, and
// nothing is stored twice.
func TestKilledRunGoesOn(t *testing.T) {
	for _, manifest := range []string{sample, chained} {
		t.Run(filepath.Base(manifest), func(t *testing.T) { killedRunGoesOn(t, manifest) })
	}
}

func killedRunGoesOn(t *testing.T, sample string) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.ndjson")
	if err := os.WriteFile(in, []byte(input(20_000, 0, 0, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "run", "-f", sample, "--input", in, "--rate", "10000", "--until-drained", "--store-dir", dir+"/store")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // in the middle of the input
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	report := filepath.Join(dir, "report.json")
	got := millrace(t, input(20_000, 0, 0, 0), "run", "-f", sample, "--input", "-", "--until-drained", "--store-dir", dir+"/store",
		"--report", report)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if r := readReport(t, report); r.Lost != 0 || r.Duplicated != 0 || r.Backlog != 0 || r.Stages["validate"].In < 20_000 {
		t.Errorf("report: %+v", r)
	}
}

func TestRefusals(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	manifest := "apiVersion: millrace.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: bad}\nspec:\n  stages:\n  - name: a\n    from: [nowhere]\n    enrich: {trace: {}}\n"
	if err := os.WriteFile(bad, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no command's flag":        {[]string{"run", "--nope"}, 2, "unknown flag: --nope"},
		"no manifest":              {[]string{"run"}, 2, "-f FILE is required"},
		"missing manifest":         {[]string{"run", "-f", "nope.yaml"}, 1, "nope.yaml: no such file"},
		"manifest is refused":      {[]string{"run", "-f", bad}, 1, "bad.yaml:7: spec.stages[0].from"},
		"lint":                     {[]string{"lint", "-f", bad}, 1, "bad.yaml:7: spec.stages[0].from"},
		"lint without a file":      {[]string{"lint"}, 2, "lint needs -f"},
		"unknown command":          {[]string{"fly"}, 2, `unknown command "fly"`},
		"missing input":            {[]string{"run", "-f", sample, "--input", "nope"}, 1, "--input: open nope: no such file"},
		"unknown output":           {[]string{"run", "-f", sample, "--input", "/dev/null", "--output", "nope=x"}, 2, `the pipeline has no stage "nope"`},
		"output that is no stream": {[]string{"run", "-f", chained, "--input", "/dev/null", "--output", "enrich=x"}, 2, "what stage enrich emits is handed over in memory"},
		"unknown port":             {[]string{"run", "-f", sample, "--input", "/dev/null", "--output", "enrich/nope=x"}, 2, `stage enrich has no port "nope"`},
		"snapshot is no list":      {[]string{"run", "-f", sample, "--input", "/dev/null", "--until-drained", "--kubernetes-snapshot", "go.mod"}, 1, "go.mod"},
		"worker without a file":    {[]string{"worker"}, 2, "--config is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			got := millrace(t, "", tc.args...)
			if got.code != tc.code || !strings.Contains(got.stdout+got.stderr, tc.want) {
				t.Errorf("exit code %d, want %d and %q in:\n%s%s", got.code, tc.code, tc.want, got.stdout, got.stderr)
			}
		})
	}
}

func TestSamplesAreClean(t *testing.T) {
	got := millrace(t, "", "lint", "-f", "config/samples")
	if got.code != 0 {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}
