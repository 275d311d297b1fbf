package local

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/event"
)

// TestLedgerCountsTheEventsOfMessagesOfOthers: collectors need not say how many events a message holds.
func TestLedgerCountsTheEventsOfMessagesOfOthers(t *testing.T) {
	t.Parallel()
	const one = `{"id":"1","source":"/t","type":"app.log"}`
	messages := []struct {
		contentType, data string
		events            int64
	}{
		{"", one, 1},
		{"", one + "\n" + one + "\n" + one, 3},
		{"application/x-ndjson", one + "\nno event\n" + one, 3},
		{"", "[" + one + "," + one + "]", 2},
		{"", "[]", 0},
		{"application/x-ndjson", "\n\n", 0},
		{"", "", 1},
		{"", "no event", 1},
	}
	s := newSetting(t, pipeline(stages), "").serve(nil)
	publish := func() (events int64) {
		for _, m := range messages {
			msg := nats.NewMsg("events.raw.test")
			msg.Header.Set(event.HeaderContentType, m.contentType)
			msg.Data = []byte(m.data)
			if _, err := s.js.PublishMsg(context.WithoutCancel(t.Context()), msg); err != nil { // stored before the run begins
				t.Error(err)
			}
			events += m.events
		}
		return events
	}
	// Some that a run before has left, and some while the run goes on.
	want := publish()
	time.AfterFunc(500*time.Millisecond, func() { publish() })
	got := s.run(Options{Listen: "somewhere", For: time.Second})
	if got.err != nil || got.EventsIn != want || got.Stages["validate"].In != 2*want {
		t.Errorf("%d events in, and %d processed, want %d and %d: %v", got.EventsIn, got.Stages["validate"].In, want, 2*want, got.err)
	}
}

// TestRunThatOutlivesItsEventsBalances: what has expired cannot be counted, and is not lost.
func TestRunThatOutlivesItsEventsBalances(t *testing.T) {
	t.Parallel()
	s := newSetting(t, pipeline(stages), failures(10)).serve(func(p *plan.Plan) {
		for i := range p.Streams {
			p.Streams[i].MaxAge, p.Streams[i].DuplicateWindow = time.Second, time.Second
		}
	})
	got := s.run(Options{Input: "-", For: 3 * time.Second})
	if got.err != nil || got.Stages["validate"].In != 10 {
		t.Fatalf("%d events processed: %v", got.Stages["validate"].In, got.err)
	}
	want := LedgerLine{What: "validate/out: stored", Expected: 10, Expired: true}
	if !slices.Contains(got.Ledger, want) {
		t.Errorf("the ledger has no %+v: %+v", want, got.Ledger)
	}
	if want := "what has expired is not counted"; !strings.Contains(got.stdout, want) {
		t.Errorf("the summary does not say %q:\n%s", want, got.stdout)
	}
}

func TestLedgerStandsInOrder(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), t, pipeline(stages), failures(1), Options{Input: "-", UntilDrained: true})
	var lines []string
	for _, l := range got.Ledger {
		lines = append(lines, l.What)
	}
	want := []string{"ingress: stored"}
	for _, s := range []struct {
		name  string
		ports []string
	}{
		{"validate", []string{"dead-letter", "out"}},
		{"correlate", []string{"dead-letter", "insights", "out"}},
		{"analyze", []string{"dead-letter", "insights", "out"}},
	} {
		want = append(want, s.name+": in")
		for _, port := range s.ports {
			want = append(want, s.name+"/"+port+": stored")
		}
		want = append(want, s.name+": accounted for")
	}
	if diff := cmp.Diff(want, lines); diff != "" || got.err != nil {
		t.Errorf("%v\n-want +got:\n%s", got.err, diff)
	}
}
