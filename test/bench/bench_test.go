package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test binary be the programs that the rows baseline and ceiling start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == baselineProgram || os.Args[1] == hopProgram) {
		main()
		return
	}
	os.Exit(m.Run())
}

// reportOf runs the command and reads what it writes.
func reportOf[R any](t *testing.T, args ...string) (report R) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report.json")
	if err := run(t.Context(), append(args, "-out", out, "-dir", t.TempDir())); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// TestRows measures every row for a moment. The figures mean nothing, but each event is
// counted once.
func TestRows(t *testing.T) {
	report := reportOf[Report](t, "-rows", strings.Join(rowNames[:], ","), "-events", "30000", "-json-events", "2000", "-steady-seconds", "1s", "-steady-rate", "2000")
	var names []string
	for i := range report.Rows {
		row := &report.Rows[i]
		names = append(names, row.Name)
		if row.Lost != 0 || row.Duplicated != 0 {
			t.Errorf("%s: %d lost, %d doubled of %d", row.Name, row.Lost, row.Duplicated, row.Events)
		}
		if row.EventsPerSecond <= 0 || row.CPUMicrosPerEvent <= 0 || row.P50 <= 0 || row.P999 < row.P50 || row.PeakMB <= 0 || row.DiskBytesPerEvent <= 0 {
			t.Errorf("%s: %+v", row.Name, *row)
		}
		// The flows that name their pod by IP alone, and all others, are found.
		if row.Name != "ceiling" && row.FoundInCluster < 0.9 {
			t.Errorf("%s: the kubernetes enricher found %v of the events", row.Name, row.FoundInCluster)
		}
	}
	if diff := cmp.Diff(rowNames[:], names); diff != "" {
		t.Errorf("rows, -want +got:\n%s", diff)
	}
	if report.Ratios["pipeline/baseline"] <= 0 || report.Ratios["pipeline/ceiling"] <= 0 || report.Machine.NATS == "" {
		t.Errorf("%+v, %+v", report.Ratios, report.Machine)
	}
}

// TestCosts measures a row of each group for a moment: each event is counted once.
func TestCosts(t *testing.T) {
	report := reportOf[CostReport](t, "-cost", "-rows", "2x8,4x1", "-events", "30000")
	var rows [][3]int
	for i := range report.Rows {
		row := &report.Rows[i]
		rows = append(rows, [3]int{row.Group, row.Stages, row.Partitions})
		if row.Events != 30_000 || row.Lost != 0 || row.Duplicated != 0 {
			t.Errorf("%v: %d lost, %d doubled of %d", rows[i], row.Lost, row.Duplicated, row.Events)
		}
		if row.EventsPerSecond <= 0 || row.Server <= 0 || row.Workers <= 0 || row.PerStage <= 0 || len(row.Processes) != 2+row.Stages {
			t.Errorf("%v: %+v", rows[i], *row)
		}
	}
	if diff := cmp.Diff([][3]int{{1, 2, 8}, {2, 4, 1}}, rows); diff != "" {
		t.Errorf("rows, -want +got:\n%s", diff)
	}
}

// TestKinds measures some kinds for a moment: each event is counted once, and the cost is told beside that of a stage that does nothing.
func TestKinds(t *testing.T) {
	rows := []string{passRow, "join", "sink-file"}
	report := reportOf[Report](t, "-rows", strings.Join(rows[1:], ","), "-events", "30000")
	var got []string
	for i := range report.Kinds {
		k := &report.Kinds[i]
		got = append(got, k.Name)
		if k.Events != 30_000 || k.Lost != 0 || k.Duplicated != 0 {
			t.Errorf("%s: %d lost, %d doubled of %d", k.Name, k.Lost, k.Duplicated, k.Events)
		}
		if k.EventsPerSecond <= 0 || k.Worker <= 0 || k.OfPass <= 0 || k.PeakMB <= 0 {
			t.Errorf("%+v", *k)
		}
	}
	if diff := cmp.Diff(rows, got); diff != "" {
		t.Errorf("rows, -want +got:\n%s", diff)
	}
}

func TestMedianOfCosts(t *testing.T) {
	got := median([]Cost{{PerStage: 3, Events: 1}, {PerStage: 1, Events: 2, Lost: 4}, {PerStage: 2, Events: 3, Duplicated: 5}})
	want := Cost{PerStage: 2, Events: 3, Runs: []float64{3, 1, 2}, Lost: 4, Duplicated: 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTimes(t *testing.T) {
	a := newAcks()
	a.byConsumer["explicit"] = []ack{{1, 10}, {3, 20}, {2, 30}, {3, 40}}
	a.byConsumer["lane-0"] = []ack{{2, 15}, {6, 50}}
	a.byConsumer["lane-1"] = []ack{{5, 60}}
	got, err := a.times(map[string]string{"explicit": "e.>", "lane-0": "e.0", "lane-1": "e.1", "silent": "e.2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		subject  string
		sequence uint64
		want     int64
	}{
		"both acknowledged it by name":              {"e.0", 2, 30},
		"the first acknowledgement counts":          {"e.2", 3, 20},
		"a later one acknowledges what came before": {"e.1", 1, 60},
		"one has not": {"e.1", 6, 0},
	} {
		if at := got.of(tc.subject, tc.sequence); at != tc.want {
			t.Errorf("%s: got %d, want %d", name, at, tc.want)
		}
	}
}

func TestEventsAreTheSameEveryTime(t *testing.T) {
	a, err := makeStory(3, 10_000, true, 500)
	if err != nil {
		t.Fatal(err)
	}
	b, err := makeStory(3, 10_000, true, 500)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.frames.data) != string(b.frames.data) || string(a.lines.data) != string(b.lines.data) {
		t.Error("the same seed made other events")
	}
	if a.lines.len() != 10_000 || a.frames.len() != 20 {
		t.Errorf("%d lines and %d frames", a.lines.len(), a.frames.len())
	}
	if size := len(a.lines.data) / a.lines.len(); size < 500 || size > 800 {
		t.Errorf("an event has %d bytes", size)
	}
}

func TestPositionOf(t *testing.T) {
	e := &events{position: make([]int32, 2*storyEvents)}
	e.position[storyEvents+6] = 42
	for id, want := range map[string]int{"demo-2-000007": 42, "demo-3-000001": -1, "demo-10000-000001": -1, "x": -1, "demo-1": -1} {
		got, ok := e.positionOf(id)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s: got %d, want %d", id, got, want)
		}
	}
}
