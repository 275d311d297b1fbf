package event_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// ledEvent is an event of one of a few pods. The subject of every third is its own.
func ledEvent(i int) *eventv1.Event {
	pod := fmt.Sprint("cart-", i%4)
	m := &eventv1.Event{
		Id: fmt.Sprint(i), Source: "/clusters/test/kubelet", Type: "app.log", Subject: "Pod/shop/" + pod, TimeUnixNano: uint64(1000 + i),
		SeverityNumber: 9, TraceId: []byte("0123456789abcdef"), Count: 1, Body: fmt.Sprint("line ", i),
		Entity:     &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: pod, Uid: "8af80ca2-c023-5abe-920d-feaa1d6c0ea" + fmt.Sprint(i%4)},
		Related:    []*eventv1.EntityRef{{Kind: "Node", Name: "worker-1"}},
		Resource:   []*eventv1.KeyValue{text("service.name", "cart"), text("k8s.node.name", "worker-1")},
		Attributes: []*eventv1.KeyValue{text("thread", fmt.Sprint(i))},
	}
	if i%3 == 0 {
		m.Subject = fmt.Sprint("10.0.0.1->10.0.0.", i)
	}
	if i%5 == 0 {
		m.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m", Value: 1}}
	}
	return m
}

func encodedFrame(t *testing.T, w *frame.Writer, want []*eventv1.Event) []byte {
	t.Helper()
	w.Begin(frame.Header{})
	for _, m := range want {
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		w.AddEncoded(encoded, int64(m.GetTimeUnixNano()))
	}
	return w.AppendTo(nil)
}

var frameHeader = map[string][]string{"Content-Type": {event.ContentTypeFrame}}

func same(t *testing.T, what string, want *eventv1.Event, got *event.Event) {
	t.Helper()
	m, err := got.ToProto()
	if diff := cmp.Diff(want, m, protocmp.Transform(), cmpopts.EquateNaNs()); diff != "" || err != nil {
		t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
	}
	if got.ID != want.GetId() || got.Source != want.GetSource() || got.Type != want.GetType() || got.Subject != want.GetSubject() ||
		got.Entity.Name != want.GetEntity().GetName() || got.Entity.UID != want.GetEntity().GetUid() || got.Time != int64(want.GetTimeUnixNano()) || got.Body != want.GetBody() {
		t.Errorf("%s: the view is %+v, want %v", what, got, want)
	}
}

// TestLead: what the events of one source have in common is taken out of them, stands in a frame
// once, and nobody sees the difference.
func TestLead(t *testing.T) {
	var want []*eventv1.Event
	for i := range 200 {
		want = append(want, ledEvent(i))
	}
	var w frame.Writer
	w.Hints = true
	block := encodedFrame(t, &w, want)
	plainSize, _ := s2.DecodedLen(block)
	for i := range want {
		want[i].IngestTimeUnixNano = 7
	}
	for hop := range 3 {
		d := decode.New(decode.Limits{Lift: hop == 0, Hints: hop > 0})
		events, bad := d.Decode(nil, decode.Message{Data: block, Time: 7, Header: frameHeader})
		if len(bad) > 0 || len(events) != len(want) {
			t.Fatalf("%d events, %v", len(events), bad)
		}
		w.Begin(frame.Header{})
		led := 0
		for i := range events {
			e := &events[i]
			what := fmt.Sprintf("hop %d, event %d", hop, i)
			if e.Lead() != nil {
				led++
			}
			same(t, what, want[i], e)
			received, ct := decode.AppendReceived(nil, e)
			again, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: received, Time: 7, Header: map[string][]string{"Content-Type": {ct}}})
			same(t, what+", as received", want[i], &again[0])
			if v, ok := e.Resource("k8s.node.name"); !ok || v != "worker-1" {
				t.Errorf("%s: node %q", what, v)
			}
			if v, ok := e.Attribute("thread"); !ok || v.Str() != fmt.Sprint(i) {
				t.Errorf("%s: attribute %v", what, v)
			}
			w.Add(e)
		}
		if led < len(want)-8 { // those that come first from a source keep what they have
			t.Errorf("hop %d: %d of %d events have a lead", hop, led, len(want))
		}
		block = w.AppendTo(nil)
		if size, _ := s2.DecodedLen(block); size > plainSize*3/4 {
			t.Errorf("hop %d: the frame has %d bytes before compression, %d without leads", hop, size, plainSize)
		}
		plain, err := s2.Decode(nil, block)
		if err != nil {
			t.Fatal(err)
		}
		var block eventv1.Frame
		if err := proto.Unmarshal(plain, &block); err != nil {
			t.Fatal(err)
		}
		for i, entry := range block.GetEntries() { // any reader of protobuf can merge them
			m := &eventv1.Event{}
			if lead := entry.GetLead(); lead > 0 {
				if err := proto.Unmarshal(block.GetContexts()[lead-1], m); err != nil {
					t.Fatal(err)
				}
			}
			proto.Merge(m, entry.GetEvent())
			if diff := cmp.Diff(want[i], m, protocmp.Transform()); diff != "" {
				t.Errorf("entry %d (-want +got):\n%s", i, diff)
			}
		}
	}
}

// TestChangedLead: an event with a lead can be changed like another one.
func TestChangedLead(t *testing.T) {
	changes := map[string]struct {
		event func(*event.Event)
		proto func(*eventv1.Event)
		whole bool // the lead still says all about the source
	}{
		"severity":  {func(e *event.Event) { e.SetSeverity(17, "ERROR") }, func(m *eventv1.Event) { m.SeverityNumber, m.SeverityText = 17, "ERROR" }, true},
		"attribute": {func(e *event.Event) { e.AddAttribute("a", event.StringValue("b")) }, func(m *eventv1.Event) { m.Attributes = append(m.Attributes, text("a", "b")) }, true},
		"resource":  {func(e *event.Event) { e.AddResource("a", "b") }, func(m *eventv1.Event) { m.Resource = append(m.Resource, text("a", "b")) }, false},
		"related": {func(e *event.Event) { e.AddRelated(event.EntityRef{Kind: "Node", Name: "n"}) }, func(m *eventv1.Event) {
			m.Related = append(m.Related, &eventv1.EntityRef{Kind: "Node", Name: "n"})
		}, false},
		"entity":        {func(e *event.Event) { e.SetEntity(event.EntityRef{Kind: "Node", Name: "n"}) }, func(m *eventv1.Event) { m.Entity = &eventv1.EntityRef{Kind: "Node", Name: "n"} }, false},
		"partition key": {func(e *event.Event) { e.SetPartitionKey("k") }, func(m *eventv1.Event) { m.PartitionKey = "k" }, false},
		"lead": {func(e *event.Event) {
			p, err := e.Lead().LeadWith(event.EncodedEntity(event.EntityRef{APIVersion: "v1"}))
			if err != nil {
				t.Fatal(err)
			}
			e.SetLead(p)
		}, func(m *eventv1.Event) { m.Entity.ApiVersion = "v1" }, true},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			all := []*eventv1.Event{ledEvent(1), ledEvent(1), ledEvent(1)}
			var w frame.Writer
			w.Hints = true
			d := decode.New(decode.Limits{Lift: true})
			events, _ := d.Decode(nil, decode.Message{Data: encodedFrame(t, &w, all), Header: frameHeader})
			e, want := &events[2], all[2]
			if e.Lead() == nil {
				t.Fatal("the third event has no lead")
			}
			change.event(e)
			change.proto(want)
			same(t, "changed", want, e)
			if (e.Lead() != nil) != change.whole {
				t.Errorf("Lead says %v", e.Lead() != nil)
			}
			w.Begin(frame.Header{})
			w.Add(e)
			again, bad := decode.New(decode.Limits{Hints: true}).Decode(nil, decode.Message{Data: w.AppendTo(nil), Header: frameHeader})
			if len(again) != 1 || len(bad) != 0 {
				t.Fatal(bad)
			}
			same(t, "read again", want, &again[0])
			if (again[0].Lead() != nil) != change.whole {
				t.Errorf("Lead says %v when it is read again", again[0].Lead() != nil)
			}
		})
	}
}

// TestLeadOfJSON: a lead is taken out of events in JSON too, whose dead letters are what came.
func TestLeadOfJSON(t *testing.T) {
	d := decode.New(decode.Limits{Lift: true})
	line := benchLine(1)
	var events []event.Event
	for range 3 {
		events, _ = d.Decode(events, decode.Message{Data: line})
	}
	if events[0].Lead() != nil || events[2].Lead() == nil {
		t.Errorf("leads: %v, %v", events[0].Lead(), events[2].Lead())
	}
	if body, _ := decode.AppendReceived(nil, &events[2]); string(body) != string(line) {
		t.Errorf("received %s", body)
	}
	one, _ := events[0].ToProto()
	three, _ := events[2].ToProto()
	if diff := cmp.Diff(one, three, protocmp.Transform()); diff != "" {
		t.Errorf("with a lead (-without +with):\n%s", diff)
	}
}

// TestContextsAreBounded: what is not used any more is forgotten, what is used stays the same one.
func TestContextsAreBounded(t *testing.T) {
	const limit = 64 << 10
	d := decode.New(decode.Limits{Hints: true, Lift: true})
	contexts := event.NewContexts(limit)
	d.Remember(contexts)
	var w frame.Writer
	var used *event.Prepared
	for round := range 200 {
		var all []*eventv1.Event
		for i := range 10 {
			m := ledEvent(4 * (10*round + i))
			m.Entity.Uid = fmt.Sprint("uid-", round, "-", i) // never again
			all = append(all, m, m, ledEvent(1))
		}
		d.Reset()
		events, bad := d.Decode(nil, decode.Message{Data: encodedFrame(t, &w, all), Header: frameHeader})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		p := events[len(events)-1].Lead()
		if round > 0 && p != used {
			t.Fatalf("round %d: the lead that is used is another one", round)
		}
		used = p
	}
	if n := contexts.Held(); n > limit+4096 {
		t.Errorf("%d bytes are remembered, at most %d", n, limit)
	}
}

func TestLeadThatIsNotThere(t *testing.T) {
	block := &eventv1.Frame{Version: 1, Count: 1, Entries: []*eventv1.FrameEntry{{Event: &eventv1.Event{Id: "a"}, Lead: 7}}}
	encoded, err := proto.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: s2.Encode(nil, encoded), Header: frameHeader})
	if len(events) != 0 || len(bad) != 1 {
		t.Fatalf("%d events, bad: %+v", len(events), bad)
	}
}
