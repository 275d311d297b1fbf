package stage

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// TestNewStageAwaitsItsRevision: nothing is written of a Stage that is about to get its first revision. Whatever else a Stage without one has to
// say is said at once.
func TestNewStageAwaitsItsRevision(t *testing.T) {
	const age = 2 * time.Second
	now := time.Unix(1_700_000_000, 0)
	for name, tc := range map[string]struct {
		change func(*decide.Observed)
		want   time.Duration
	}{
		"new":      {func(*decide.Observed) {}, 3 * time.Second},
		"accepted": {said(metav1.ConditionTrue), 3 * time.Second},
		"refused":  {said(metav1.ConditionFalse), 0},
		"old": {func(s *decide.Observed) {
			s.Stage.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
		}, 0},
		"has a status":          {func(s *decide.Observed) { s.Stage.Status.ObservedGeneration = 1 }, 0},
		"had workers":           {func(s *decide.Observed) { s.Deployment = mounting("config") }, 0},
		"has a revision":        {func(s *decide.Observed) { compile(t, s, pipeline(nil)) }, 0},
		"its newest is deleted": {func(s *decide.Observed) { compile(t, s, pipeline(nil)); s.Newest = nil }, 0},
	} {
		s := &decide.Observed{Stage: child("correlate")}
		s.Stage.CreationTimestamp = metav1.NewTime(now.Add(-age))
		tc.change(s)
		if got := decide.AwaitsRevision(s, now); got != tc.want {
			t.Errorf("%s: waits %s, want %s", name, got, tc.want)
		}
	}
}

// said has the Pipeline controller have said whether the Stage is accepted.
func said(is metav1.ConditionStatus) func(*decide.Observed) {
	return func(s *decide.Observed) {
		s.Stage.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: is}}
	}
}
