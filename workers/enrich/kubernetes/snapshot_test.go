package kubernetes

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/enrich"
)

func TestSnapshotFiles(t *testing.T) {
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop","uid":"p-uid"},"status":{"phase":"Running","podIP":"10.0.0.1"}}`
	for name, text := range map[string]string{
		"List in JSON":        `{"apiVersion":"v1","kind":"List","items":[` + pod + `]}`,
		"PodList":             `{"apiVersion":"v1","kind":"PodList","items":[` + strings.Replace(pod, `"apiVersion":"v1","kind":"Pod",`, "", 1) + `]}`,
		"one object":          pod,
		"several documents":   `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}]}` + "\n" + pod,
		"YAML":                "apiVersion: v1\nkind: List\nitems:\n- " + pod + "\n",
		"YAML documents":      "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n" + pod + "\n---\n",
		"kinds without a use": `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}},` + pod + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := LoadSnapshot(write(t, text))
			if err != nil {
				t.Fatal(err)
			}
			err = s.Start(t.Context(), enrich.SourceSettings{Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			if f, status := s.Find(enrich.Query{IP: "10.0.0.1"}); status != enrich.StatusOK || f.Entity.Name != "p" {
				t.Errorf("got %+v with status %s", f, status)
			}
			if f, status := s.Find(enrich.Query{IP: "10.0.0.2"}); status != enrich.StatusMiss || f != nil {
				t.Errorf("unknown address: got %+v with status %s", f, status)
			}
		})
	}
}

func TestSnapshotErrors(t *testing.T) {
	list := func(items string) string { return `{"apiVersion":"v1","kind":"List","items":[` + items + `]}` }
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "holds no pods, nodes"},
		"an empty list":    {list(""), "holds no pods, nodes"},
		"text":             {"hello", "not a Kubernetes List"},
		"cut off":          {`{"apiVersion":"v1","kind":"List","items":[`, "neither JSON nor YAML"},
		"no kind":          {`{"items":[]}`, "kind is missing: want a List"},
		"item of no kind":  {list(`{"kind":"Node","metadata":{"name":"n"}},{"metadata":{"name":"x"}}`), "items[1]: kind is missing"},
		"item of no name":  {list(`{"kind":"Pod","metadata":{}}`), "items[0] (Pod): metadata.name is missing"},
		"pod without uid":  {list(`{"kind":"Pod","metadata":{"name":"p"}}`), "items[0] (Pod p): metadata.uid is missing"},
		"pod with a wrong": {list(`{"kind":"Pod","metadata":{"name":"p"},"spec":7}`), "items[0] (Pod p): json"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, tc.text)
			_, err := LoadSnapshot(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want the path and %q", err, tc.want)
			}
		})
	}
	if _, err := LoadSnapshot("/nowhere/x.json"); err == nil || !strings.Contains(err.Error(), "/nowhere/x.json") {
		t.Errorf("no file: got %v", err)
	}
}

// The snapshot of a real cluster that ships with the project answers.
func TestRecordedSnapshot(t *testing.T) {
	s, err := LoadSnapshot("../../../test/testdata/kubernetes-snapshot.json")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start(t.Context(), enrich.SourceSettings{Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	f, _ := s.Find(enrich.Query{Kind: "Deployment", Namespace: "shop", Name: "checkout"})
	if f == nil || f.Radius.Pods != 1 || f.Criticality != "critical" || len(f.Services) != 1 {
		t.Errorf("Deployment checkout: got %+v", f)
	}
}

func TestChoice(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, tc := range map[string]struct {
		choice Choice
		none   bool
		want   string
	}{
		"nothing":              {choice: Choice{}, none: true},
		"nothing around":       {choice: Choice{Environment: true}, none: true},
		"a missing snapshot":   {choice: Choice{Snapshot: "/nowhere.json", Kubeconfig: "/nowhere"}, want: "kubernetes snapshot"},
		"a missing kubeconfig": {choice: Choice{Kubeconfig: "/nowhere"}, want: "kubeconfig /nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := tc.choice.Open(t.Context())
			switch {
			case tc.none && (source != nil || err != nil):
				t.Errorf("got %v, %v, want neither", source, err)
			case !tc.none && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
