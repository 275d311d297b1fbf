package collect

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/event"
)

const (
	testSubject = "events.raw.kubernetes"
	testStream  = "RAW_EVENTS"
)

// newPublisher makes the stream and a publisher for it.
func newPublisher(t *testing.T, options natsserver.Options) *Publisher {
	t.Helper()
	js := harness.JetStream(t, harness.RunEmbeddedNATS(t, options))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.raw.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return publisherOn(t, js, false)
}

// publisherOn makes a publisher for a stream that is there.
func publisherOn(t *testing.T, js jetstream.JetStream, shared bool) *Publisher {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	stream, err := FindStream(t.Context(), js, testSubject, log)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(Options{
		JetStream: js, Stream: stream, Subject: testSubject, Cluster: "test", Shared: shared,
		Log: log, Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stored are the ids of all events on the subject.
func stored(t *testing.T, p *Publisher) (ids []string) {
	t.Helper()
	_, _, err := p.Stream.Replay(t.Context(), 1, func(events []event.Event) {
		for i := range events {
			ids = append(ids, strings.Clone(events[i].ID))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func bodied(id, body string) *eventv1.Event {
	return &eventv1.Event{Id: id, Type: "test", Source: "s", TimeUnixNano: 1, Body: body, Entity: &eventv1.EntityRef{Kind: "Pod"}}
}

// dropped is how many events were dropped for a reason.
func dropped(t *testing.T, m *metrics, reason string) (n float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(m.dropped)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == reason {
				n += metric.GetCounter().GetValue()
			}
		}
	}
	return n
}

// What NATS never takes is dropped and counted, alone; all that waits behind it goes on.
func TestRefusedEventsAreDropped(t *testing.T) {
	raw := make([]byte, 16<<10)
	_, _ = rand.Read(raw)
	large := base64.StdEncoding.EncodeToString(raw)
	for name, tc := range map[string]struct {
		body, reason string
		options      natsserver.Options
		limit        int32 // of the stream
	}{
		"max_payload":     {large, "too_large", natsserver.Options{Config: "max_payload: 8192"}, -1},
		"max_msg_size":    {large, "too_large", natsserver.Options{}, 8192},
		"does not encode": {"\xff", "invalid", natsserver.Options{}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, tc.options)
			if _, err := p.JetStream.UpdateStream(t.Context(), jetstream.StreamConfig{
				Name: testStream, Subjects: []string{"events.raw.>"}, MaxMsgSize: tc.limit,
			}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := p.Run(ctx, func(context.Context) {
				queue := p.Queue().In
				queue <- Item{Events: []*eventv1.Event{bodied("a/1", "")}}
				// Two changes of one Deployment are known by one value: both, or none.
				queue <- Item{Events: []*eventv1.Event{bodied("b/1", tc.body), bodied("b/2", "")}}
				queue <- Item{Events: []*eventv1.Event{bodied("c/1", "")}}
			})
			if err != nil {
				t.Fatal(err)
			}
			got := stored(t, p)
			if want := []string{"a/1", "c/1"}; !slices.Equal(got, want) {
				t.Errorf("published: got %v, want %v", got, want)
			}
			if n := dropped(t, p.metrics, tc.reason); n != 2 {
				t.Errorf("dropped: got %v, want 2", n)
			}
		})
	}
}

// Earlier releases published events of any size that compress well: no reason not to start.
func TestLargeEventIsReadBack(t *testing.T) {
	p := newPublisher(t, natsserver.Options{})
	msg, err := p.message([]*eventv1.Event{bodied("a/1", string(make([]byte, 3<<20)))})
	if err != nil {
		t.Fatal(err)
	}
	if events, err := DecodeFrame(msg.Header, msg.Data); err != nil || len(events) != 1 {
		t.Errorf("got %d events, %v", len(events), err)
	}
}
