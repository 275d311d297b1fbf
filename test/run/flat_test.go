package run

import (
	"path/filepath"
	"testing"
)

// TestFlatSeriesStepByOne: four series are flat for 399 values. A step from 0 to 500 is an insight; one more replica (2 to 3), one
// error (0 to 1) and 90 to 92 are not.
func TestFlatSeriesStepByOne(t *testing.T) {
	out := filepath.Join(t.TempDir(), "insights.ndjson")
	const from = "test/run/testdata/flat-series/"
	got := millrace(t, "", "run", "-f", from+"pipeline.yaml", "--input", from+"events.ndjson", "--until-drained", "--output", "analyze/insights="+out)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	insights := lines(t, out)
	if len(insights) != 1 {
		t.Fatalf("%d insights, want 1: %v", len(insights), insights)
	}
	if value := insights[0]["data"].(map[string]any)["insight"].(map[string]any)["summary"]; value == nil {
		t.Errorf("no summary: %v", insights[0])
	} else {
		t.Log(value)
	}
}
