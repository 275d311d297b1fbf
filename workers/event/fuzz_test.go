package event_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

var fuzzTypes = []string{
	"", event.ContentTypeFrame, event.ContentTypeCloudEvent, event.ContentTypeBatch, event.ContentTypeNDJSON, "text/plain",
}

// FuzzDecode: no message makes the decoder panic, and whatever comes out of it holds:
// every event can be read, changed, written in each form and read again.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/golden/*/message")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		for i := range fuzzTypes {
			f.Add(read(f, file), uint8(i), "")
		}
		f.Add(read(f, file), uint8(5), "id-1")
	}
	f.Fuzz(func(t *testing.T, data []byte, ct uint8, ceID string) {
		m := decode.Message{Header: map[string][]string{}, Data: data, Sequence: 1, Time: 7}
		if ct := fuzzTypes[int(ct)%len(fuzzTypes)]; ct != "" {
			m.Header["Content-Type"] = []string{ct}
		}
		if ceID != "" {
			m.Header["ce-id"] = []string{ceID}
		}
		d := decode.New(decode.Limits{MaxDecoded: 1 << 20, MaxEvents: 100})
		events, bad := d.Decode(nil, m)
		seen := map[int]bool{}
		for _, u := range bad {
			if u.Err == nil || u.Err.Error() == "" || seen[u.Index] {
				t.Fatalf("failure %+v", u)
			}
			seen[u.Index] = true
		}
		for i := range events {
			if seen[events[i].Origin.Index] {
				t.Fatalf("index %d twice", events[i].Origin.Index)
			}
			seen[events[i].Origin.Index] = true
		}
		lifted := decode.New(decode.Limits{MaxDecoded: 1 << 20, MaxEvents: 100, Lift: true})
		for range 3 { // what comes from the same source again gets a lead
			sameEvents(t, events, lifted, m)
		}
		for i := range events {
			sound(t, &events[i])
		}
	})
}

// sameEvents checks that another decoder makes the same events of a message.
func sameEvents(t *testing.T, want []event.Event, d *decode.Decoder, m decode.Message) {
	t.Helper()
	got, _ := d.Decode(nil, m)
	if len(got) != len(want) {
		t.Fatalf("%d events with leads, %d without", len(got), len(want))
	}
	for i := range got {
		a, err1 := want[i].ToProto()
		b, err2 := got[i].ToProto()
		if diff := cmp.Diff(a, b, protocmp.Transform(), cmpopts.EquateNaNs()); diff != "" || (err1 == nil) != (err2 == nil) {
			t.Fatalf("with a lead (%v, %v; -without +with):\n%s", err1, err2, diff)
		}
		if got[i].Key() != want[i].Key() || got[i].Entity != want[i].Entity || got[i].Subject != want[i].Subject || got[i].Time != want[i].Time {
			t.Fatalf("the view with a lead is %+v, without %+v", got[i], want[i])
		}
		sound(t, &got[i])
	}
}

// sound checks that an event can be used in every way.
func sound(t *testing.T, e *event.Event) {
	t.Helper()
	_ = e.PartitionOf(64)
	_, _ = decode.AppendReceived(nil, e)
	for _, use := range []func() bool{
		func() bool { _, ok := e.Metric(); return ok }, func() bool { _, ok := e.Span(); return ok },
		func() bool { _, ok := e.Correlation(); return ok }, func() bool { _, ok := e.Attribute("a"); return ok },
	} {
		use()
	}
	e.SetSemantic(event.Semantic{Class: "c"})
	e.AddLink(event.Link{EventID: "x"})
	m, err := e.ToProto()
	if err != nil {
		if e.Form() != event.FormFrame { // nested fields of frames are checked when they are read
			t.Fatalf("an event from JSON cannot be decoded: %v", err)
		}
		return
	}
	if m.GetSemantic().GetClass() != "c" || m.GetId() != e.ID || m.GetBody() != e.Body {
		t.Fatalf("view and message differ: %v", m)
	}
	structured, err := cloudevent.Append(nil, e)
	if err != nil || !json.Valid(structured) {
		t.Fatalf("no JSON: %v\n%s", err, structured)
	}
}

// FuzzFrame: frames of any bytes under a valid S2 block.
func FuzzFrame(f *testing.F) {
	block, err := s2.Decode(nil, read(f, "testdata/golden/frame/message"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(block)
	f.Add([]byte{8, 1})
	f.Add([]byte{8, 1, 0x7a, 0})
	r := rand.New(rand.NewPCG(9, 9))
	for range 20 {
		encoded, err := proto.Marshal(randomEvent(r))
		if err != nil {
			f.Fatal(err)
		}
		var w frame.Writer
		w.Begin(frame.Header{Partition: 1})
		w.AddEncoded(encoded, 0)
		block, _ := s2.Decode(nil, w.AppendTo(nil))
		f.Add(block)
	}
	led, err := proto.Marshal(&eventv1.Frame{
		Version: 1, Contexts: [][]byte{{0x12, 1, 's', 0x82, 1, 3, 0x1a, 1, 'p'}, {0x9a, 1, 0, 0xc2, 1, 0}},
		Entries: []*eventv1.FrameEntry{{Event: &eventv1.Event{Id: "a"}, Lead: 1}, {Event: &eventv1.Event{Id: "b", Count: 2}, Lead: 2, Contexts: []uint32{0}}, {Lead: 3}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(led)
	f.Fuzz(func(t *testing.T, block []byte) {
		m := decode.Message{Header: contentType(event.ContentTypeFrame), Data: s2.Encode(nil, block)}
		d := decode.New(decode.Limits{MaxEvents: 100}) // more are not more to see
		events, bad := d.Decode(nil, m)
		if _, err := readHeader(m.Data); err != nil && len(events) > 0 {
			t.Fatalf("events in a frame without a header: %v", err)
		}
		lifted := decode.New(decode.Limits{MaxEvents: 100, Lift: true})
		for range 3 {
			sameEvents(t, events, lifted, m)
		}
		// What is decoded is what protobuf decodes, or both refuse.
		for i := range events {
			whole, err := events[i].ToProto()
			if err != nil {
				continue
			}
			if diff := cmp.Diff(whole.GetId(), events[i].ID); diff != "" {
				t.Fatal(diff)
			}
			sound(t, &events[i])
		}
		for _, u := range bad {
			if again, _ := d.Decode(nil, decode.Message{Data: u.Raw}); len(again) > 0 && u.ContentType != "" {
				t.Fatalf("undecodable at first, %d events later", len(again))
			}
		}
	})
}

// FuzzCloudEvent: what is decoded from JSON comes back the same through a structured
// CloudEvent.
func FuzzCloudEvent(f *testing.F) {
	for _, name := range []string{"native", "native-insight", "structured", "structured-typed", "structured-text", "structured-base64", "native-metric"} {
		f.Add(read(f, "testdata/golden/"+name+"/message"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decode.New(decode.Limits{})
		events, bad := d.Decode(nil, decode.Message{Header: contentType(event.ContentTypeCloudEvent), Data: data})
		if len(events) != 1 || len(bad) != 0 {
			return
		}
		first, err := cloudevent.Append(nil, &events[0])
		if err != nil {
			t.Fatal(err)
		}
		again, bad := d.Decode(nil, decode.Message{Header: contentType(event.ContentTypeCloudEvent), Data: first})
		if len(again) != 1 || len(bad) != 0 {
			t.Fatalf("own CloudEvent is refused: %v\n%s", bad, first)
		}
		second, err := cloudevent.Append(nil, &again[0])
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			a, _ := events[0].ToProto()
			b, _ := again[0].ToProto()
			t.Fatalf("%s\ncomes back as\n%s\n%s", first, second, cmp.Diff(a, b, protocmp.Transform(), cmpopts.EquateNaNs()))
		}
	})
}
