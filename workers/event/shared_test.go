package event_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

func prepared(t *testing.T, m *eventv1.Event) *event.Prepared {
	t.Helper()
	encoded, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := event.Prepare(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func text(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

// TestSharedContexts: what many events share is in a frame once, and every event has it.
func TestSharedContexts(t *testing.T) {
	pods := make([]*event.Prepared, 3)
	for i := range pods {
		pods[i] = prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("k8s.pod.name", fmt.Sprint("pod-", i))}})
	}
	impact := prepared(t, &eventv1.Event{Impact: &eventv1.Impact{Score: 0.5}})
	var want []*eventv1.Event
	w := frame.Writer{Hints: true}
	w.Begin(frame.Header{Partition: 3})
	for i := range 100 {
		m := &eventv1.Event{Id: fmt.Sprint(i), Source: "s", Type: "t", Count: 1, IngestTimeUnixNano: 7}
		if i%3 == 0 {
			m.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m", Value: 1}}
		}
		e, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if i%4 > 0 { // every fourth shares nothing
			e.AppendPrepared(pods[i%4-1])
			e.AppendPrepared(impact)
			m.Resource = append(m.Resource, text("k8s.pod.name", fmt.Sprint("pod-", i%4-1)))
			m.Impact = &eventv1.Impact{Score: 0.5}
		}
		if i%10 == 1 { // what is appended later stands behind
			e.AddResource("k8s.pod.name", "mine")
			m.Resource = append(m.Resource, text("k8s.pod.name", "mine"))
		}
		if i%10 == 3 { // a field of the view
			e.SetSeverity(17, "ERROR")
			m.SeverityNumber, m.SeverityText = 17, "ERROR"
		}
		if i%10 == 2 {
			e.SetImpact(event.Impact{Score: 0.9})
			m.Impact = &eventv1.Impact{Score: 0.9}
		}
		want = append(want, m)
		w.Add(&e)
	}
	block := w.AppendTo(nil)
	plain, err := s2.Decode(nil, block)
	if err != nil {
		t.Fatal(err)
	}
	var decoded eventv1.Frame
	if err := proto.Unmarshal(plain, &decoded); err != nil {
		t.Fatal(err)
	}
	if n := len(decoded.GetContexts()); n != 4 || decoded.GetCount() != 100 || len(decoded.GetEvents())+len(decoded.GetEntries()) != 100 {
		t.Errorf("%d contexts, %d events, %d entries, count %d", n, len(decoded.GetEvents()), len(decoded.GetEntries()), decoded.GetCount())
	}
	// Any reader of protobuf can merge them.
	for i, entry := range decoded.GetEntries() {
		m := proto.Clone(entry.GetEvent()).(*eventv1.Event)
		for _, c := range entry.GetContexts() {
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(decoded.GetContexts()[c], m); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want[len(decoded.GetEvents())+i], m, protocmp.Transform()); diff != "" {
			t.Errorf("entry %d (-want +got):\n%s", i, diff)
		}
	}
	// And through two hops of stages.
	for hop := range 4 {
		d := decode.New(decode.Limits{Hints: hop > 0})
		events, bad := d.Decode(nil, decode.Message{Data: block, Time: 9, Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}})
		if len(bad) > 0 || len(events) != 100 {
			t.Fatalf("%d events, %v", len(events), bad)
		}
		w.Begin(frame.Header{})
		for i := range events {
			if e := &events[i]; e.ID != fmt.Sprint(i) || e.Source != "s" || e.Type != "t" || e.Count != 1 || e.IngestTime != 7 {
				t.Errorf("hop %d: the view of event %d is %+v", hop, i, *e)
			}
			if _, ok := events[i].Metric(); ok != (i%3 == 0) {
				t.Errorf("hop %d: event %d has a metric: %v", hop, i, ok)
			}
			got, err := events[i].ToProto()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[i], got, protocmp.Transform()); diff != "" {
				t.Errorf("event %d (-want +got):\n%s", i, diff)
			}
			received, ct := decode.AppendReceived(nil, &events[i])
			again, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: received, Header: map[string][]string{"Content-Type": {ct}}})
			got, err = again[0].ToProto()
			if diff := cmp.Diff(want[i], got, protocmp.Transform()); diff != "" || err != nil {
				t.Errorf("received %d: %v (-want +got):\n%s", i, err, diff)
			}
			w.Add(&events[i])
		}
		// What was added was copied: the memory of the events may be used again.
		d.Reset()
		other := bytes.Repeat([]byte{0xff}, 1<<20)
		_, _ = d.Decode(nil, decode.Message{Data: s2.Encode(nil, other), Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}})
		block = w.AppendTo(nil)
	}
}

// TestMoreContextsThanCanBeShared: an event may name more contexts than a view keeps apart.
func TestMoreContextsThanCanBeShared(t *testing.T) {
	block := &eventv1.Frame{Version: 1, Count: 2}
	want := &eventv1.Event{Id: "a", Source: "s", Type: "t", Count: 1}
	entry := &eventv1.FrameEntry{Event: proto.Clone(want).(*eventv1.Event)}
	for i := range 9 {
		part := &eventv1.Event{Resource: []*eventv1.KeyValue{text(fmt.Sprint("key-", i), "v")}}
		encoded, _ := proto.Marshal(part)
		block.Contexts = append(block.Contexts, encoded)
		entry.Contexts = append(entry.Contexts, uint32(i))
		want.Resource = append(want.Resource, part.GetResource()...)
	}
	wrong := &eventv1.FrameEntry{Event: &eventv1.Event{Id: "b"}, Contexts: []uint32{9}}
	block.Entries = []*eventv1.FrameEntry{entry, wrong}
	encoded, err := proto.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: s2.Encode(nil, encoded), Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}})
	if len(events) != 1 || len(bad) != 1 || bad[0].Index != 1 {
		t.Fatalf("%d events, bad: %+v", len(events), bad)
	}
	got, err := events[0].ToProto()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestContextsInAnyEncoding: the numbers of contexts may stand packed, one by one or in several
// pieces, as in any protobuf.
func TestContextsInAnyEncoding(t *testing.T) {
	want := &eventv1.Event{Id: "a", Resource: []*eventv1.KeyValue{text("k", "1"), text("k", "0")}}
	for name, refs := range map[string][]byte{
		"packed":         {0x12, 2, 1, 0},
		"one by one":     {0x10, 1, 0x10, 0},
		"pieces":         {0x12, 1, 1, 0x12, 0, 0x12, 1, 0},
		"piece, then 0":  {0x12, 1, 1, 0x10, 0},
		"1, then piece":  {0x10, 1, 0x12, 1, 0},
		"longer varints": {0x12, 3, 0x81, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			block := []byte{0x08, 1}
			for i := range 2 {
				part := encoded(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("k", fmt.Sprint(i))}})
				block = protowire.AppendBytes(protowire.AppendTag(block, 14, protowire.BytesType), part)
			}
			block = protowire.AppendBytes(protowire.AppendTag(block, 16, protowire.BytesType), append([]byte{0x0a, 3, 0x0a, 1, 'a'}, refs...))
			before := bytes.Clone(block)
			events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: s2.Encode(nil, block), Header: frameHeader})
			if len(events) != 1 || len(bad) != 0 || !bytes.Equal(before, block) {
				t.Fatalf("%d events, failures %v", len(events), bad)
			}
			got, err := events[0].ToProto()
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestReceivedWithContexts: what a stage adds does not take the place of a context that came.
func TestReceivedWithContexts(t *testing.T) {
	want := &eventv1.Event{Id: "a", SeverityNumber: 9, SeverityText: "lvl", Resource: []*eventv1.KeyValue{text("from", "sender")}, Count: 1}
	block := &eventv1.Frame{
		Version:  1,
		Contexts: [][]byte{encoded(t, &eventv1.Event{SeverityText: want.SeverityText, Resource: want.Resource})},
		Entries:  []*eventv1.FrameEntry{{Event: &eventv1.Event{Id: "a", SeverityNumber: 9, Count: 1}, Contexts: []uint32{0}}},
	}
	d := decode.New(decode.Limits{})
	events, _ := d.Decode(nil, decode.Message{Data: blockOf(t, block), Header: frameHeader})
	e := &events[0]
	e.SetSeverity(17, "ERROR")
	e.AppendPrepared(prepared(t, &eventv1.Event{Semantic: &eventv1.Semantic{Class: "mine"}}))
	body, ct := decode.AppendReceived(nil, e)
	received, _ := d.Decode(nil, decode.Message{Data: body, Header: contentType(ct)})
	same(t, "as received", want, &received[0])
	want.SeverityNumber, want.SeverityText, want.Semantic = 17, "ERROR", &eventv1.Semantic{Class: "mine"}
	same(t, "changed", want, e)
}
