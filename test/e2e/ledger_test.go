package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// publishNumbered publishes events with the ids n-0 ... n-<events-1> as NDJSON messages
// and waits for every PubAck.
func publishNumbered(ctx context.Context, js jetstream.JetStream, subject string, events, perMessage int) error {
	for first := 0; first < events; first += perMessage {
		var body bytes.Buffer
		for i := first; i < min(first+perMessage, events); i++ {
			fmt.Fprintf(&body, `{"id":"n-%d","source":"/load","type":"app.log","severitynumber":9,"partitionkey":"k%d","body":"request served"}`+"\n", i, i%97)
		}
		m := nats.NewMsg(subject)
		m.Data = body.Bytes()
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Header.Set(nats.MsgIdHdr, subject+":"+strconv.Itoa(first))
		if _, err := js.PublishMsg(ctx, m); err != nil {
			return fmt.Errorf("publish events from %d: %w", first, err)
		}
		if first%(20*perMessage) == 0 {
			time.Sleep(100 * time.Millisecond) // about 10,000 events a second
		}
	}
	return nil
}

// numbers counts how often each numbered event is stored in the frames of a stream. It
// reads frames by their published schema alone, not with the product's codec.
func (c *cluster) numbers(t *testing.T, stream, filter string, events int) []int {
	t.Helper()
	seen := make([]int, events)
	for m := range c.messages(t, stream, filter) {
		for _, e := range frameEvents(t, m) {
			n, err := strconv.Atoi(strings.TrimPrefix(e.GetId(), "n-"))
			if err != nil || n < 0 || n >= events {
				t.Fatalf("%s holds an event that nobody sent: %q", stream, e.GetId())
			}
			seen[n]++
		}
	}
	return seen
}

// balance fails the test unless each numbered event is stored once.
func (c *cluster) balance(t *testing.T, stream, filter string, events int) {
	t.Helper()
	lost, doubled := 0, 0
	for _, n := range c.numbers(t, stream, filter, events) {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled += n - 1
		}
	}
	t.Logf("ledger of %s: %d in, %d lost, %d doubled", stream, events, lost, doubled)
	if lost > 0 || doubled > 0 {
		t.Errorf("%s: %d events lost, %d doubled", stream, lost, doubled)
	}
}

// messages yields what a stream stores on a filter now.
func (c *cluster) messages(t *testing.T, stream, filter string) func(yield func(jetstream.Msg) bool) {
	t.Helper()
	cons, err := c.js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := cons.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(jetstream.Msg) bool) {
		deadline := time.Now().Add(time.Minute)
		for left := int(info.NumPending); left > 0; {
			got := 0
			batch, err := cons.Fetch(min(left, 256), jetstream.FetchMaxWait(5*time.Second))
			if err == nil {
				for m := range batch.Messages() {
					got++
					if !yield(m) {
						return
					}
				}
				err = batch.Error()
			}
			left -= got
			// A server that has just come back may have to find a new place for the consumer: the next Fetch makes one
			// that goes on behind the last message.
			if got == 0 && time.Now().After(deadline) {
				t.Fatalf("%s: %d messages did not come: %v", stream, left, err)
			}
		}
	}
}

func frameEvents(t *testing.T, m jetstream.Msg) []*eventv1.Event {
	t.Helper()
	body, err := s2.Decode(nil, m.Data())
	if err != nil {
		t.Fatalf("message on %s is no frame: %v", m.Subject(), err)
	}
	var f eventv1.Frame
	if err := proto.Unmarshal(body, &f); err != nil {
		t.Fatalf("message on %s is no frame: %v", m.Subject(), err)
	}
	events := f.GetEvents()
	for _, entry := range f.GetEntries() {
		e := &eventv1.Event{}
		merge := func(i uint32) {
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(f.GetContexts()[i], e); err != nil {
				t.Fatalf("context of an event on %s: %v", m.Subject(), err)
			}
		}
		if lead := entry.GetLead(); lead > 0 {
			merge(lead - 1)
		}
		proto.Merge(e, entry.GetEvent())
		for _, i := range entry.GetContexts() {
			merge(i)
		}
		events = append(events, e)
	}
	return events
}

func containsEvent(t *testing.T, m jetstream.Msg, id string) bool {
	t.Helper()
	for _, e := range frameEvents(t, m) {
		if e.GetId() == id {
			return true
		}
	}
	return false
}
