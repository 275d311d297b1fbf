package run

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestWindowsOfABurstAreWhole: a backlog holds more event time than a window and its lateness, and is read one
// partition after another. Eight pods have two windows each, of three events.
func TestWindowsOfABurstAreWhole(t *testing.T) {
	dir := t.TempDir()
	const from = "test/run/testdata/windows-in-a-burst/"
	got := millrace(t, "", "run", "-f", from+"pipeline.yaml", "--input", from+"events.ndjson", "--until-drained",
		"--report", filepath.Join(dir, "report.json"), "--output", "correlate="+filepath.Join(dir, "out.ndjson"))
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	groups := map[string]int{}
	for _, e := range lines(t, filepath.Join(dir, "out.ndjson")) {
		if e["type"] == "millrace.correlation.group" {
			body, _, _ := strings.Cut(e["data"].(map[string]any)["body"].(string), " within")
			groups[body]++
		}
	}
	for pod, n := range groups {
		if n != 2 || !strings.HasPrefix(pod, "3 notable events of pod cafe/w-") {
			t.Errorf("%d groups: %s", n, pod)
		}
	}
	if len(groups) != 8 {
		t.Errorf("groups of %d pods, want 8: %v", len(groups), groups)
	}
	if late := readReport(t, filepath.Join(dir, "report.json")).Stages["correlate"].Late; late != 0 {
		t.Errorf("%d events were late", late)
	}
}

// TestLateEventsAreInTheReport: what is late by the clock of its own source is in no window, and a person is told.
func TestLateEventsAreInTheReport(t *testing.T) {
	var input strings.Builder
	for _, at := range []string{"11:05:00", "11:00:01", "11:00:02"} {
		input.WriteString(`{"id":"` + at + `","source":"x","type":"app.log","severity":"ERROR","body":"boom","time":"2026-01-05T` + at +
			`Z","entity":{"kind":"Pod","namespace":"cafe","name":"w-0"}}` + "\n")
	}
	dir := t.TempDir()
	got := millrace(t, input.String(), "run", "-f", "test/run/testdata/windows-in-a-burst/pipeline.yaml", "--input", "-", "--until-drained",
		"--report", filepath.Join(dir, "report.json"))
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	if late := readReport(t, filepath.Join(dir, "report.json")).Stages["correlate"].Late; late != 2 {
		t.Errorf("%d events late in the report, want 2", late)
	}
	if !strings.Contains(got.stdout, "correlate: 2 events came too late") || !strings.Contains(got.stderr, "came too late") {
		t.Errorf("the summary or the log does not tell:\n%s\n%s", got.stdout, got.stderr)
	}
}
