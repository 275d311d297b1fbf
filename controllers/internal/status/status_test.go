package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/status"
)

var (
	fine    = status.True("Accepted", "Accepted", "good")
	waiting = status.False("StreamsReady", "NATSUnreachable", "away")
	stalled = status.Stalled("StagesReady", "NotOwned", "theirs")
	unknown = status.Unknown("StagesReady", "Invalid", "not looked at")
	noon    = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

func brief(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, c.Type+"="+string(c.Status)+" "+c.Reason)
	}
	return out
}

func TestSummaries(t *testing.T) {
	tests := map[string]struct {
		verdicts []status.Verdict
		want     []string
	}{
		"all true": {[]status.Verdict{fine}, []string{"Accepted=True Accepted", "Ready=True Fine"}},
		"waiting": {[]status.Verdict{fine, waiting}, []string{
			"Accepted=True Accepted", "StreamsReady=False NATSUnreachable", "Ready=False NATSUnreachable", "Reconciling=True NATSUnreachable",
		}},
		"a person first": {[]status.Verdict{waiting, stalled}, []string{
			"StreamsReady=False NATSUnreachable", "StagesReady=False NotOwned", "Ready=False NotOwned", "Stalled=True NotOwned",
		}},
		"unknown is not ready": {[]status.Verdict{fine, unknown}, []string{
			"Accepted=True Accepted", "StagesReady=Unknown Invalid", "Ready=False Invalid", "Reconciling=True Invalid",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var conditions []metav1.Condition
			status.Set(&conditions, 3, noon, "Fine", "", test.verdicts...)
			if diff := cmp.Diff(test.want, brief(conditions)); diff != "" {
				t.Error(diff)
			}
			for _, c := range conditions {
				if c.ObservedGeneration != 3 {
					t.Errorf("%s: got generation %d, want 3", c.Type, c.ObservedGeneration)
				}
			}
		})
	}
}

func TestSummariesComeAndGo(t *testing.T) {
	var conditions []metav1.Condition
	status.Set(&conditions, 1, noon, "Fine", "", waiting)
	first := append([]metav1.Condition(nil), conditions...)
	status.Set(&conditions, 1, noon.Add(time.Minute), "Fine", "", waiting)
	if diff := cmp.Diff(first, conditions); diff != "" {
		t.Errorf("the same verdict changed the status:\n%s", diff)
	}
	status.Set(&conditions, 1, noon, "Fine", "", stalled)
	status.Set(&conditions, 1, noon, "Fine", "", status.True("StreamsReady", "Ready", ""), status.True("StagesReady", "Ready", ""))
	want := []string{"StreamsReady=True Ready", "Ready=True Fine", "StagesReady=True Ready"}
	if diff := cmp.Diff(want, brief(conditions)); diff != "" {
		t.Error(diff)
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	var conditions []metav1.Condition
	status.Set(&conditions, 1, noon, "Fine", "", status.False("Accepted", "Invalid", strings.Repeat("x", 50_000)))
	if n := len(conditions[0].Message); n != 32*1024 {
		t.Errorf("got %d bytes, the API takes 32768", n)
	}
}

func TestTurned(t *testing.T) {
	var before, after []metav1.Condition
	status.Set(&before, 1, noon, "Fine", "", fine, waiting)
	status.Set(&after, 1, noon, "Fine", "", fine, status.True("StreamsReady", "Ready", ""), stalled)
	want := []string{"StreamsReady=True Ready", "StagesReady=False NotOwned"}
	if diff := cmp.Diff(want, brief(status.Turned(before, after))); diff != "" {
		t.Error(diff)
	}
	if got := status.Turned(after, after); len(got) != 0 {
		t.Errorf("nothing turned, got %v", brief(got))
	}
	if got := brief(status.Turned(nil, before)); !cmp.Equal(got, []string{"StreamsReady=False NATSUnreachable"}) {
		t.Errorf("a new object: got %v", got)
	}
}

func TestBackoff(t *testing.T) {
	var conditions []metav1.Condition
	if got := status.Backoff(conditions, "StreamsReady", 5*time.Second, noon); got != 5*time.Second {
		t.Errorf("unknown: got %s", got)
	}
	status.Set(&conditions, 1, noon, "Fine", "", waiting)
	for after, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, 20 * time.Second: 10 * time.Second, time.Hour: time.Minute,
	} {
		if got := status.Backoff(conditions, "StreamsReady", 5*time.Second, noon.Add(after)); got != want {
			t.Errorf("after %s: got %s, want %s", after, got, want)
		}
	}
	if v1alpha1.ConditionStreamsReady != "StreamsReady" {
		t.Error("the test speaks of another condition")
	}
}

// TestNotesFitIntoEvents: the API server refuses longer ones.
func TestNotesFitIntoEvents(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"short":                {"deleted streams A, B", "deleted streams A, B"},
		"as long as it may be": {strings.Repeat("a", 1024), strings.Repeat("a", 1024)},
		"longer":               {strings.Repeat("a", 1025), strings.Repeat("a", 1021) + "…"},
		"in a character":       {strings.Repeat("a", 1020) + strings.Repeat("é", 9), strings.Repeat("a", 1020) + "…"},
		"between characters":   {strings.Repeat("é", 600), strings.Repeat("é", 510) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := status.Note(test.text)
			if got != test.want || len(got) > 1024 {
				t.Errorf("got %d bytes %q, want %q", len(got), got, test.want)
			}
		})
	}
}
