package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// newPublisher makes the stream and a publisher for it.
func newPublisher(t *testing.T, options natsserver.Options) *publisher {
	t.Helper()
	js := harness.JetStream(t, harness.RunEmbeddedNATS(t, options))
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.raw.>"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(prometheus.NewRegistry(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{
		js: js, stream: stream, subject: testSubject, stored: testSubject, cluster: "test", instance: "i", metrics: m,
		log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func bodied(id, body string) *eventv1.Event {
	return &eventv1.Event{Id: id, Type: typeEvent, Source: "s", TimeUnixNano: 1, Body: body, Entity: &eventv1.EntityRef{Kind: "Pod"}}
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
			if _, err := p.js.UpdateStream(t.Context(), jetstream.StreamConfig{
				Name: testStream, Subjects: []string{"events.raw.>"}, MaxMsgSize: tc.limit,
			}); err != nil {
				t.Fatal(err)
			}
			queue := make(chan item, 10)
			queue <- item{events: []*eventv1.Event{bodied("a/1", "")}}
			// Two changes of one Deployment are known by one value: both, or none.
			queue <- item{events: []*eventv1.Event{bodied("b/1", tc.body), bodied("b/2", "")}}
			queue <- item{events: []*eventv1.Event{bodied("c/1", "")}}
			close(queue)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := p.run(ctx, queue); err != nil {
				t.Fatal(err)
			}
			var got []string
			for sequence := uint64(1); sequence <= p.last; sequence++ {
				msg, err := p.stream.GetMsg(t.Context(), sequence)
				if err != nil {
					t.Fatal(err)
				}
				events, err := decodeFrame(msg.Header, msg.Data)
				if err != nil {
					t.Fatal(err)
				}
				for i := range events {
					got = append(got, events[i].ID)
				}
			}
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
	if events, err := decodeFrame(msg.Header, msg.Data); err != nil || len(events) != 1 {
		t.Errorf("got %d events, %v", len(events), err)
	}
}
