package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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

// run runs a pipeline to its end.
func run(ctx context.Context, t *testing.T, manifest, stdin string, o Options) outcome {
	t.Helper()
	dir := t.TempDir()
	o.File, o.Report = filepath.Join(dir, "p.yaml"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(o.File, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, progress safeBuffer
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, o, Environment{
			Stdin: strings.NewReader(stdin), Stdout: &stdout, Progress: &progress, Log: slog.New(slog.DiscardHandler),
			Registry: stage.NewRegistry(validate.NewFactory(), correlate.NewFactory(), analyze.NewFactory()),
		})
	}()
	var out outcome
	select {
	case out.err = <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("the run did not end within 20s; its progress:\n%s", progress.String())
	}
	out.stdout, out.progress = stdout.String(), progress.String()
	data, err := os.ReadFile(o.Report)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &out.Report)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// safeBuffer is read while a run writes to it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
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
