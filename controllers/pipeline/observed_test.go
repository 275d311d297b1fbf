package pipeline

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// TestLastObservedIsWrittenWithChangesAndOnceInAWhile: READY stays True when no operator runs, so the status says when
// one last looked. That must not cost a write on each look.
func TestLastObservedIsWrittenWithChangesAndOnceInAWhile(t *testing.T) {
	first := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		last   *metav1.Time
		after  time.Duration
		stages string
		want   time.Duration
	}{
		"the first time":             {nil, 0, "1/1", 0},
		"soon after, nothing is new": {new(metav1.NewTime(first)), observedEvery - time.Second, "1/1", 0},
		"soon after, with a change":  {new(metav1.NewTime(first)), time.Second, "0/1", time.Second},
		"a while after":              {new(metav1.NewTime(first)), observedEvery, "1/1", observedEvery},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := v1alpha1.PipelineStatus{LastObserved: c.last, Stages: "1/1"}
			now := *before.DeepCopy()
			now.Stages = c.stages
			observe(&now, &before, first.Add(c.after))
			if want := first.Add(c.want); now.LastObserved == nil || !now.LastObserved.Time.Equal(want) {
				t.Errorf("got lastObserved %s, want %s", now.LastObserved, want)
			}
		})
	}
}
