package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
)

// outcome is what a pipeline made of the input of a case.
type outcome struct {
	result
	report report
	// events are those of each output that the test asked for. Partitions are stored side by side, so
	// order holds only within one.
	events map[string][]*eventv1.Event
}

// runCase runs the pipeline of testdata/cases/NAME over its input until it is drained: pipeline.yaml,
// events.ndjson and, if there is one, snapshot.json as the cluster. Outputs are named as for --output:
// enrich, validate/dead-letter, correlate/insights. A run that fails, loses or doubles fails the test.
func runCase(t *testing.T, name string, outputs ...string) outcome {
	t.Helper()
	in, out := filepath.Join(root(t), "test/run/testdata/cases", name), t.TempDir()
	args := []string{
		"run", "-f", filepath.Join(in, "pipeline.yaml"), "--input", filepath.Join(in, "events.ndjson"),
		"--until-drained", "--report", filepath.Join(out, "report.json"),
	}
	if snapshot := filepath.Join(in, "snapshot.json"); exists(snapshot) {
		args = append(args, "--kubernetes-snapshot", snapshot)
	}
	path := func(output string) string {
		return filepath.Join(out, strings.ReplaceAll(output, "/", "-")+".ndjson")
	}
	for _, o := range outputs {
		args = append(args, "--output", o+"="+path(o))
	}
	got := outcome{result: millrace(t, "", args...), events: map[string][]*eventv1.Event{}}
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	got.report = readReport(t, filepath.Join(out, "report.json"))
	if r := got.report; r.Lost != 0 || r.Duplicated != 0 || r.Backlog != 0 {
		t.Fatalf("report: %+v", r)
	}
	for _, o := range outputs {
		got.events[o] = cloudEvents(t, path(o))
	}
	return got
}

// event is the one with an id; the test ends when the output does not hold exactly one.
func (o outcome) event(t *testing.T, output, id string) *eventv1.Event {
	t.Helper()
	var found []*eventv1.Event
	for _, e := range o.events[output] {
		if e.GetId() == id {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("output %s holds event %s %d times, want once", output, id, len(found))
	}
	return found[0]
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cloudEvents decodes the CloudEvents of a file.
func cloudEvents(t *testing.T, path string) []*eventv1.Event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string][]string{event.HeaderContentType: {event.ContentTypeNDJSON}}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: header, Data: data})
	for _, b := range bad {
		t.Errorf("%s: line %d: %v", path, b.Index+1, b.Err)
	}
	all := make([]*eventv1.Event, len(events))
	for i := range events {
		if all[i], err = events[i].ToProto(); err != nil {
			t.Fatalf("%s: line %d: %v", path, i+1, err)
		}
	}
	return all
}
