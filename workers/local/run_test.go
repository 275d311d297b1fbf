package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness/logs"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
)

// pipeline is a manifest whose spec holds these lines too.
func pipeline(lines ...string) string {
	return `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec:
  subjectPrefix: events
  ` + strings.Join(lines, "\n  ") + "\n"
}

// stages have a state that a second run rebuilds.
const stages = `stages:
  - {name: validate, from: [ingress], validate: {requiredAttributes: [id]}}
  - {name: correlate, from: [validate], correlate: {realtime: {}, window: {size: 5s}}}
  - {name: analyze, from: [validate], analyze: {trend: {}}}`

// outcome is what a run left.
type outcome struct {
	Report

	stdout, progress string
	err              error
}

// setting is what a run is given.
type setting struct {
	t                testing.TB
	file, report     string
	env              Environment
	stdout, progress logs.Buffer
}

func newSetting(t testing.TB, manifest, stdin string) *setting {
	t.Helper()
	dir := t.TempDir()
	s := &setting{t: t, file: filepath.Join(dir, "p.yaml"), report: filepath.Join(dir, "report.json")}
	if err := os.WriteFile(s.file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = Environment{
		Stdin: strings.NewReader(stdin), Stdout: &s.stdout, Progress: &s.progress, Log: slog.New(slog.DiscardHandler),
		Registry: stage.NewRegistry(validate.NewFactory(), correlate.NewFactory(), analyze.NewFactory()),
	}
	return s
}

// run runs a pipeline to its end.
func run(ctx context.Context, t *testing.T, manifest, stdin string, o Options) outcome {
	t.Helper()
	s := newSetting(t, manifest, stdin)
	o.File, o.Report = s.file, s.report
	return s.outcome(func() error { return Run(ctx, o, s.env) })
}

// serve starts a server with the streams of the pipeline, for a test that does more than a run.
func (s *setting) serve(change func(*plan.Plan)) *served {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	p, err := loadPlan(ctx, s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	if change != nil {
		change(p)
	}
	srv, err := startServer(s.t.TempDir(), "", false, s.env.Log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { stopServer(ctx, srv) })
	nc, err := dial(srv, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := apply(ctx, js, p); err != nil {
		s.t.Fatal(err)
	}
	return &served{setting: s, plan: p, srv: srv, js: js}
}

type served struct {
	*setting

	plan *plan.Plan
	srv  *server.Server
	js   jetstream.JetStream
}

func (s *served) run(o Options) outcome {
	s.t.Helper()
	o.File, o.Report = s.file, s.report
	return s.outcome(func() error { return runPipeline(s.t.Context(), o, s.env, s.plan, s.srv, s.env.Stdin) })
}

// outcome waits for a run.
func (s *setting) outcome(run func() error) outcome {
	s.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	var out outcome
	select {
	case out.err = <-ended:
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the run did not end within 20s; its progress:\n%s", s.progress.String())
	}
	out.stdout, out.progress = s.stdout.String(), s.progress.String()
	data, err := os.ReadFile(s.report)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &out.Report)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// failures makes n events of things that go wrong in one pod: correlate tells of them.
func failures(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"e-%d","source":"/t","type":"app.log","timestamp":%q,"severity":"error","body":"failed","entity":{"kind":"Pod","namespace":"shop","name":"cart"}}`+"\n",
			i, time.Now().UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}

func TestSecondRunOnAStoreBalances(t *testing.T) {
	t.Parallel()
	o := Options{Input: "-", UntilDrained: true, StoreDir: t.TempDir()}
	first := run(t.Context(), t, pipeline(stages), failures(10), o)
	if first.err != nil || first.Stages["correlate"].Out == 0 {
		t.Fatalf("the first run left nothing that the second one could tell again: %v\n%s", first.err, first.stdout)
	}
	if second := run(t.Context(), t, pipeline(stages), "", o); second.err != nil {
		t.Errorf("the second run: %v", second.err)
	}
}

// TestRunIsInNoDomain: where the manifest finds JetStream in a cluster does not matter here.
func TestRunIsInNoDomain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	manifest := pipeline(`nats: {url: "nats://leaf:4222", jetStreamDomain: hub}`, stages)
	got := run(ctx, t, manifest, `{"id":"1","source":"a","type":"b"}`, Options{Input: "-", UntilDrained: true})
	if got.err != nil || got.EventsIn != 1 || got.Lost != 0 {
		t.Errorf("got %v, %d events, %d lost\n%s", got.err, got.EventsIn, got.Lost, got.progress)
	}
}

// TestStoreTakesOneRunAtATime: two servers on one directory would delete each other's messages.
func TestStoreTakesOneRunAtATime(t *testing.T) {
	t.Parallel()
	o := Options{Input: "-", UntilDrained: true, StoreDir: t.TempDir()}
	_, release, err := storeDir(o.StoreDir) // as a run that is under way
	if err != nil {
		t.Fatal(err)
	}
	want := "--store-dir " + o.StoreDir + ": another run is at work there: wait until it has ended, or name another directory"
	if got := run(t.Context(), t, pipeline(stages), "", o).err; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	release()
	if err := run(t.Context(), t, pipeline(stages), "", o).err; err != nil {
		t.Errorf("when the other run has ended: %v", err)
	}
}

func TestSuspendedPipelineStoresItsInput(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), t, pipeline("suspend: true", stages), failures(10), Options{Input: "-", UntilDrained: true})
	if got.err != nil || got.EventsIn != 10 || got.Backlog != 10 || got.Seconds <= 0 {
		t.Errorf("%d events in, %d still to do, in %g s: %v", got.EventsIn, got.Backlog, got.Seconds, got.err)
	}
	if want := "10 still to do"; !strings.Contains(got.stdout, want) {
		t.Errorf("the summary does not say %q:\n%s", want, got.stdout)
	}
}

// TestStoreIsOfOneLayout: what was stored for other lanes would never be looked at, and not be missed.
func TestStoreIsOfOneLayout(t *testing.T) {
	t.Parallel()
	o := Options{Input: "-", UntilDrained: true, StoreDir: t.TempDir()}
	first := pipeline("partitions: 8", stages)
	if err := run(t.Context(), t, first, failures(10), o).err; err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{
		pipeline("partitions: 2", stages):                                                                         "spec.partitions is 2, but what is stored in --store-dir was stored with 8: set it back, or name another directory",
		pipeline("ingress: {partitionBy: Subject}", stages):                                                       "spec.ingress.partitionBy is another one than what is stored in --store-dir was stored with: set it back, or name another directory",
		strings.Replace(first, "events", "others", 1):                                                             "spec.subjectPrefix is others, but what is stored in --store-dir was stored with events: set it back, or name another directory",
		strings.Replace(first, "analyze, from: [validate]", "analyze, from: [validate, validate/dead-letter]", 1): `from changes the number of lanes of stage "analyze" from 8 to 1`,
	} {
		if got := run(t.Context(), t, change, "", o).err; got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if err := run(t.Context(), t, first, "", o).err; err != nil {
		t.Errorf("as before: %v", err)
	}
}

func TestReportThatCannotBeWrittenIsToldFirst(t *testing.T) {
	t.Parallel()
	s := newSetting(t, pipeline(stages), failures(10)).serve(nil)
	s.report = filepath.Join(t.TempDir(), "missing", "report.json")
	got := s.run(Options{Input: "-", UntilDrained: true})
	if want := "--report: open " + s.report + ": no such file or directory"; got.err == nil || got.err.Error() != want {
		t.Errorf("got %v, want %s", got.err, want)
	}
	if got.stdout != "" {
		t.Errorf("the pipeline was run:\n%s", got.stdout)
	}
}
