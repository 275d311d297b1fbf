package correlate

import (
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// TestPassThrough: events that belong to no incident leave as they came, those of one with what is known of it.
func TestPassThrough(t *testing.T) {
	for _, passes := range []bool{false, true} {
		s := newStage(t, config.Correlate{Realtime: &config.CorrelateRealtime{}, PassThrough: passes})
		b := batch(t,
			&eventv1.Event{Id: "quiet", Source: "s", Type: "app.log", SeverityNumber: 9},
			&eventv1.Event{Id: "killed", Source: "s", Type: "k8s.pod.oom_killed", SeverityNumber: 17, Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "pay"}},
		)
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		want := stage.Filter
		if passes {
			want = stage.Emit
		}
		if got := b.Decision(0).Verdict; got != want {
			t.Errorf("passThrough %t: an event of no incident is %v, want %v", passes, got, want)
		}
		if got := b.Decision(1).Verdict; got != stage.Emit {
			t.Errorf("passThrough %t: an event of an incident is %v", passes, got)
		}
	}
}
