package track

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblemsOfAChain: each stage of a chain is told that its outputs wait, and that they do not any more when the session ends.
func TestProblemsOfAChain(t *testing.T) {
	var seen []string
	trackOf := func(stage, stream string) *Track {
		return &Track{Stream: stream, Blocked: func(stream string, yes bool) { seen = append(seen, fmt.Sprint(stage, " ", stream, " ", yes)) }}
	}
	first, second := trackOf("first", "A"), trackOf("second", "B")
	l := &Log{log: slog.New(slog.DiscardHandler)}
	l.problems.set(l.log, first, "full")
	l.problems.set(l.log, second, "full")
	l.problems.set(l.log, second, "gone")
	got := l.problems.list()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"output stream A: full", "output stream B: gone"}, got); diff != "" {
		t.Error(diff)
	}
	l.problems.set(l.log, first, "")
	if got := l.Close(); len(got) != 1 {
		t.Errorf("at the end: %v", got)
	}
	if diff := cmp.Diff([]string{"first A true", "second B true", "second B true", "first A false", "second B false"}, seen); diff != "" {
		t.Error(diff)
	}
}
