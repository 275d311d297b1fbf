package event_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// framed puts events into a frame, as a stage does, and decodes it: their sources become leads, and what they share stands once.
func framed(t *testing.T, events []*eventv1.Event) []event.Event {
	t.Helper()
	w := frame.Writer{Hints: true}
	w.Begin(frame.Header{Partition: 3})
	shared := prepared(t, &eventv1.Event{Resource: []*eventv1.KeyValue{text("shared", "old-shared")}})
	for _, m := range events {
		e, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		e.AppendPrepared(shared)
		w.Add(&e)
		m.Resource = append(m.Resource, text("shared", "old-shared"))
	}
	decoder := decode.New(decode.Limits{Lift: true})
	all, bad := decoder.Decode(nil, decode.Message{Header: contentType(event.ContentTypeFrame), Data: w.AppendTo(nil)})
	if len(bad) > 0 || len(all) != len(events) {
		t.Fatalf("decoded %d of %d events: %v", len(all), len(events), bad)
	}
	return all
}

// TestChange holds changes in any order against the same ones on the decoded event; and the old text is not in the encoded event any more.
func TestChange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	keys := []string{"a", "b", "shared", ""}
	maps := map[event.Map]func(*eventv1.Event) *[]*eventv1.KeyValue{
		event.AttributesMap: func(m *eventv1.Event) *[]*eventv1.KeyValue { return &m.Attributes },
		event.ResourceMap:   func(m *eventv1.Event) *[]*eventv1.KeyValue { return &m.Resource },
		event.ExtensionsMap: func(m *eventv1.Event) *[]*eventv1.KeyValue { return &m.Extensions },
	}
	// What is prepared may stand before what was set earlier: the resource has its attributes in any order.
	same := []cmp.Option{protocmp.Transform(), protocmp.FilterField(&eventv1.Event{}, "resource", protocmp.SortRepeated(func(a, b *eventv1.KeyValue) bool {
		return a.GetKey()+a.GetStringValue() < b.GetKey()+b.GetStringValue()
	}))}
	for range 300 {
		var want []*eventv1.Event
		for i := range 4 {
			m := &eventv1.Event{
				Id: fmt.Sprint(i), Source: "/source/of/all/of/these/events", Type: "old-type", Subject: "old-subject", PartitionKey: "old-key", Count: 1, IngestTimeUnixNano: uint64(7 * r.IntN(2)),
				Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "old-subject"}, Body: "old-body",
			}
			for _, of := range maps {
				for _, key := range keys[:r.IntN(len(keys))] {
					*of(m) = append(*of(m), text(key, "old-"+key))
				}
			}
			want = append(want, m)
		}
		events := framed(t, want)
		for i := range events {
			e, m := &events[i], want[i]
			if m.GetIngestTimeUnixNano() == 0 { // this stage is the first one
				m.IngestTimeUnixNano = 9
				e.Ingested(9, event.AppendIngestTime(nil, 9))
			}
			for n := range 1 + r.IntN(6) {
				value := fmt.Sprint("new-", n)
				at, key := []event.Map{event.AttributesMap, event.ResourceMap, event.ExtensionsMap}[r.IntN(3)], keys[r.IntN(len(keys))]
				pairs := maps[at](m)
				without := func() {
					*pairs = slices.DeleteFunc(*pairs, func(p *eventv1.KeyValue) bool { return p.GetKey() == key })
				}
				switch r.IntN(9) {
				case 0:
					e.Set(at, key, event.StringValue(value))
					without()
					*pairs = append(*pairs, text(key, value))
				case 1:
					e.Unset(at, key)
					without()
				case 2:
					e.SetType(value)
					m.Type = value
				case 3:
					e.SetSubject("")
					m.Subject = ""
				case 4:
					e.SetBody(value)
					m.Body = value
				case 7:
					e.SetBody("")
					m.Body = ""
				case 6:
					e.SetPartitionKey(value)
					m.PartitionKey = value
				case 8:
					p, err := event.PrepareEntry(at, key, event.StringValue(value))
					if err != nil {
						t.Fatal(err)
					}
					e.SetEntry(at, key, p)
					without()
					*pairs = append(*pairs, text(key, value))
				case 5:
					e.SetSeverity(17, "")
					m.SeverityNumber = 17
				}
				if v, ok := e.Get(at, key); ok != slices.ContainsFunc(*pairs, func(p *eventv1.KeyValue) bool { return p.GetKey() == key }) || ok && v.Text() == "" {
					t.Fatalf("map %d, key %q: got %q, %t; the event has %v", at, key, v.Text(), ok, *pairs)
				}
			}
			if e.Type != m.GetType() || e.Subject != m.GetSubject() || e.Body != m.GetBody() || e.Severity != m.GetSeverityNumber() {
				t.Fatalf("the view says %q %q %q %d, want %v", e.Type, e.Subject, e.Body, e.Severity, m)
			}
			got, err := e.ToProto()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, got, same...); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
			for was, is := range map[string]string{"old-type": m.GetType(), "old-key": m.GetPartitionKey(), "old-body": m.GetBody()} {
				if was != is && bytes.Contains(e.AppendProto(nil), []byte(was)) {
					t.Fatalf("%s is still in the event", was)
				}
			}
		}
		// What was changed goes through a frame as it is.
		w := frame.Writer{Hints: r.IntN(2) == 0}
		w.Begin(frame.Header{Partition: 3})
		for i := range events {
			w.Add(&events[i])
		}
		again, bad := decode.New(decode.Limits{Hints: true}).Decode(nil, decode.Message{Header: contentType(event.ContentTypeFrame), Data: w.AppendTo(nil)})
		if len(bad) > 0 || len(again) != len(want) {
			t.Fatalf("decoded %d of %d events: %v", len(again), len(want), bad)
		}
		for i := range again {
			if got, err := again[i].ToProto(); err != nil || cmp.Diff(want[i], got, same...) != "" {
				t.Fatalf("%v %s", err, cmp.Diff(want[i], got, same...))
			}
		}
	}
}

// TestRemovedAtTheFirstStage: an event that a pipeline has just stored, and that loses a field, has the hints of what is left.
func TestRemovedAtTheFirstStage(t *testing.T) {
	for name, remove := range map[string]func(*event.Event, *eventv1.Event){
		"body":         func(e *event.Event, m *eventv1.Event) { e.SetBody(""); m.Body = "" },
		"subject":      func(e *event.Event, m *eventv1.Event) { e.SetSubject(""); m.Subject = "" },
		"an attribute": func(e *event.Event, m *eventv1.Event) { e.Unset(event.AttributesMap, "a"); m.Attributes = nil },
	} {
		m := &eventv1.Event{
			Id: "1", Source: "/s", Type: "t", Subject: "s", TimeUnixNano: 5, SeverityNumber: 9, Body: "b", Count: 1, Attributes: []*eventv1.KeyValue{text("a", "b")},
		}
		e, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		e.Ingested(9, event.AppendIngestTime(nil, 9))
		m.IngestTimeUnixNano = 9
		remove(&e, m)
		w := frame.Writer{Hints: true}
		w.Begin(frame.Header{})
		w.Add(&e)
		again, bad := decode.New(decode.Limits{Hints: true}).Decode(nil, decode.Message{Header: contentType(event.ContentTypeFrame), Data: w.AppendTo(nil)})
		if len(bad) > 0 || len(again) != 1 {
			t.Fatalf("%s: %v", name, bad)
		}
		if got, err := again[0].ToProto(); err != nil || cmp.Diff(m, got, protocmp.Transform()) != "" {
			t.Errorf("%s: %v %s", name, err, cmp.Diff(m, got, protocmp.Transform()))
		}
	}
}
