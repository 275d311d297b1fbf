package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRun runs the command on a corpus of one file, with an anomaly that nobody could miss.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rows := "timestamp,value\n"
	at := func(i int) string { return from.Add(time.Duration(i) * 5 * time.Minute).Format(time.DateTime) }
	for i := range 4000 {
		v := 100 + r.NormFloat64()
		if i >= 3000 && i < 3010 {
			v += 200
		}
		rows += fmt.Sprintf("%s,%g\n", at(i), v)
	}
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data/a/b.csv", rows)
	write("labels/combined_windows.json", fmt.Sprintf(`{"a/b.csv": [[%q, %q]], "a/gone.csv": [[%q, %q]]}`, at(2950), at(3100), at(1), at(2)))
	var out bytes.Buffer
	if err := run(t.Context(), dir, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"1 files (1 more are labelled but not there), 4000 rows, 1 windows", "\n3          ", "\n4          ", "\n5          ", "\n6          ", "\n8          ",
		"\nswept ", "21 families", "worst family later",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if err := run(t.Context(), "", &out); err == nil || !strings.Contains(err.Error(), "NAB is not set") {
		t.Errorf("without a folder: %v", err)
	}
}

// TestPromises: the command fails for a corpus that it knows when a figure is too low, and names it.
func TestPromises(t *testing.T) {
	good := map[float64]figures{}
	for threshold := lowest; threshold <= highest; threshold += step {
		good[threshold] = figures{80, 80, 80}
	}
	if err := promisedScores(25, 39, good); err != nil {
		t.Errorf("all is good: %v", err)
	}
	bad := map[float64]figures{}
	for threshold := range good {
		bad[threshold] = figures{80, 62, 80}
	}
	bad[4] = figures{61, 0, 0}
	want := "standard at threshold 4: 61.0, promised is 62\nreward low FP rate, swept: 62.0, promised is 63"
	if err := promisedScores(25, 39, bad); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := promisedScores(3, 7, bad); err != nil {
		t.Errorf("of an unknown corpus nothing is promised: %v", err)
	}
	if err := promisedAlarms([]row{{}, {}, {first: 1, later: 1.2}, {}, {}}); err == nil || !strings.Contains(err.Error(), "threshold 5: 1.00 in the first month and 1.20") {
		t.Errorf("got %v", err)
	}
}

func TestBest(t *testing.T) {
	scores := map[float64]figures{}
	for threshold := lowest; threshold <= highest; threshold += step {
		scores[threshold] = figures{-math.Abs(threshold - 3), -threshold, threshold}
	}
	got, at := best(scores)
	if got != (figures{0, -lowest, highest}) || at != (figures{3, lowest, highest}) {
		t.Errorf("best %v at %v", got, at)
	}
}
