package analyze

import (
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// TestPassThrough: every event leaves, and the one whose value is an anomaly says so.
func TestPassThrough(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, PassThrough: true})
	events := append(seriesOf("pay", "latency", append(noise(400, 100), 1000)), &eventv1.Event{Id: "text", Source: "/test", Type: "app.log"})
	b := batch(t, events)
	if err := s.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := range b.Events {
		if got := b.Decision(i).Verdict; got != stage.Emit {
			t.Fatalf("event %s is %v, want emitted", b.Events[i].ID, got)
		}
		score, scored := b.Events[i].Attribute(attributeScore)
		if expected, ok := b.Events[i].Attribute(attributeExpected); scored != ok || scored && (score.Kind() != event.Double || expected.Kind() != event.Double) {
			t.Errorf("event %s has the score %v and expected %v", b.Events[i].ID, score, expected)
		}
		if scored {
			found++
		}
		if i == 400 && !scored {
			t.Error("the last value, ten times the others, has no score")
		}
	}
	if made := len(b.Produced()); found == 0 || found > made {
		t.Errorf("%d events have a score, and %d results were made", found, made)
	}
}
