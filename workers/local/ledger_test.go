package local

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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
			if err := s.js.Conn().PublishMsg(msg); err != nil {
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
