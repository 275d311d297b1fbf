package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// planted is what the generator says about an incident that it planted.
type planted struct {
	Kind      string
	Root      struct{ Kind, Namespace, Name string }
	RootEvent string
	Events    []string
}

// TestPlantedIncidentsAreFound runs `make demo` in small: the insights name every planted
// incident, with events of it as evidence, and the counts are those of the truth.
func TestPlantedIncidentsAreFound(t *testing.T) {
	dir := t.TempDir()
	generate := exec.CommandContext(t.Context(), "go", "run", "./hack/generate-events", "-seed", "1", "-n", "60000",
		"-invalid", "300", "-undecodable", "50", "-duplicates", "500", "-out", dir)
	generate.Dir = root(t)
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := millrace(t, "", "run", "-f", sample, "--input", dir+"/events.ndjson", "--until-drained", "--report", dir+"/report.json",
		"--kubernetes-snapshot", dir+"/kubernetes-snapshot.json",
		"--output", "correlate/insights="+dir+"/correlate.ndjson", "--output", "analyze/insights="+dir+"/analyze.ndjson")
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	truth := struct {
		Counts    struct{ Lines, Valid, Invalid, Undecodable, Duplicates int64 }
		Incidents []planted
	}{}
	data, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &truth); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, dir+"/report.json")
	v := r.Stages["validate"]
	if r.EventsIn != truth.Counts.Lines || v.Out != truth.Counts.Valid || v.Duplicates != truth.Counts.Duplicates ||
		v.DeadLettered != truth.Counts.Invalid+truth.Counts.Undecodable || r.Lost != 0 || r.Duplicated != 0 {
		t.Errorf("report %+v, truth %+v", r, truth.Counts)
	}
	insights := append(lines(t, dir+"/correlate.ndjson"), lines(t, dir+"/analyze.ndjson")...)
	for _, p := range truth.Incidents {
		if !found(p, insights) {
			t.Errorf("no insight names %s %s/%s (%s) with evidence of it", p.Root.Kind, p.Root.Namespace, p.Root.Name, p.Kind)
		}
	}
	for _, p := range truth.Incidents {
		if p.Kind != "latency-spike" && !strings.Contains(got.stdout, p.Root.Name) {
			t.Errorf("the summary does not name %s:\n%s", p.Root.Name, got.stdout)
		}
	}
}

// found looks for an insight whose root cause is the incident's and whose evidence holds
// one of its events.
func found(p planted, insights []map[string]any) bool {
	events := map[string]bool{p.RootEvent: true}
	for _, id := range p.Events {
		events[id] = true
	}
	for _, e := range insights {
		in, _ := e["data"].(map[string]any)["insight"].(map[string]any)
		rootCause, _ := in["rootCause"].(map[string]any)
		if rootCause["name"] != p.Root.Name || (p.Root.Namespace != "" && rootCause["namespace"] != p.Root.Namespace) {
			continue
		}
		evidence, _ := in["evidence"].([]any)
		for _, ev := range evidence {
			if id, _ := ev.(map[string]any)["eventId"].(string); events[id] {
				return true
			}
		}
	}
	return false
}
