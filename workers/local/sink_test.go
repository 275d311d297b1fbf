package local

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"millrace.dev/millrace/workers/sink"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
)

// TestSinksOfARun: a run keeps events in files and sends them to servers, and reads what is secret below --secret-files.
func TestSinksOfARun(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		requests.Add(1)
	}))
	defer server.Close()
	dir := t.TempDir()
	manifest := pipeline(`stages:
  - {name: validate, from: [ingress], validate: {}}
  - {name: archive, from: [validate], sink: {file: {path: ` + dir + `/events.ndjson}}}
  - {name: hook, from: [validate], sink: {http: {url: "` + server.URL + `", headers: [{name: Authorization, valueSecretRef: {name: hook, key: token}}]}}}`)
	sinks := func(o Options) outcome {
		s := newSetting(t, manifest, failures(20))
		s.env.Registry = stage.NewRegistry(validate.NewFactory(), sink.NewFactory())
		o.File, o.Report, o.Input, o.UntilDrained = s.file, s.report, "-", true
		return s.outcome(func() error { return Run(t.Context(), o, s.env) })
	}
	if out := sinks(Options{}); out.err == nil || !strings.Contains(out.err.Error(), "stage hook reads hook/token: put its value into a file of that name, and name the folder with --secret-files") {
		t.Errorf("got %v", out.err)
	}
	secrets := t.TempDir()
	if out := sinks(Options{SecretFiles: secrets}); out.err == nil || !strings.Contains(out.err.Error(), "--secret-files, for stage hook") {
		t.Errorf("got %v", out.err)
	}
	if err := os.Mkdir(filepath.Join(secrets, "hook"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(secrets, "hook", "token"), []byte("Bearer secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := sinks(Options{SecretFiles: secrets})
	if out.err != nil {
		t.Fatal(out.err)
	}
	if a, h := out.Stages["archive"], out.Stages["hook"]; a.Kept != 20 || h.Kept != 20 || requests.Load() == 0 {
		t.Errorf("kept %d in files and %d by the server, want 20 each; %d requests", a.Kept, h.Kept, requests.Load())
	}
	files, err := filepath.Glob(filepath.Join(dir, "events.*-of-8.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(content), "\n")
	}
	if lines != 20 {
		t.Errorf("%d lines in %v, want 20", lines, files)
	}
}
