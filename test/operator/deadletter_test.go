package operator_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
)

// TestDeadLettersAreInTheStatus: kubectl shows how many dead letters there are and why the last one is one. Each
// reason of a stage is one Event, however many events fail for it.
func TestDeadLettersAreInTheStatus(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.small())
	if p.Status.DeadLetters != nil {
		t.Errorf("without dead letters: got %+v", p.Status.DeadLetters)
	}
	// As a worker publishes them (docs/delivery.md).
	die := func(n int, reason, text string) {
		t.Helper()
		for range n {
			m := nats.NewMsg(x.ns + ".obs.dead-letter.validate.0")
			m.Header.Set("Millrace-Stage", "validate")
			m.Header.Set("Millrace-Reason", reason)
			m.Header.Set("Millrace-Error", text)
			if _, err := x.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		// The numbers in status follow the ingress.
		if _, err := x.js.Publish(t.Context(), x.ns+".obs.raw.x", []byte(`{"id":"1"}`)); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(events, sequence int64, reason string) {
		t.Helper()
		x.eventually(func() error {
			x.get(p)
			d := p.Status.DeadLetters
			if d == nil || d.Last == nil || d.Events != events || d.Last.Sequence != sequence || d.Last.Stage != "validate" || d.Last.Reason != reason || d.Last.Time.IsZero() {
				return fmt.Errorf("got %+v, want %d events, the last one %d %s", d, events, sequence, reason)
			}
			return nil
		})
	}
	die(20, "undecodable", "JSON, offset 0: '<' where a JSON object should stand")
	shows(20, 20, "undecodable")
	x.event(p.Name, v1alpha1.ReasonDeadLettered, "stage validate could not process an event: undecodable (JSON, offset 0")
	die(20, "undecodable", "another text")
	die(1, "rule", "id must be set")
	shows(41, 41, "rule")
	x.event(p.Name, v1alpha1.ReasonDeadLettered, "rule (id must be set); it is message 41")
	var list eventsv1.EventList
	if err := x.client.List(t.Context(), &list, client.InNamespace(x.ns)); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range list.Items {
		if e.Reason == v1alpha1.ReasonDeadLettered {
			told++
		}
	}
	if told != 2 {
		t.Errorf("got %d Events about dead letters, want one for each of 2 reasons", told)
	}
}
