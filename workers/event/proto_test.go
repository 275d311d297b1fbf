package event_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// random fills m with random values: every field of every kind, most of the time.
func random(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() == nil && r.IntN(3) > 0 {
			randomField(r, m, f, depth)
		}
	}
	for i := range m.Descriptor().Oneofs().Len() {
		of := m.Descriptor().Oneofs().Get(i).Fields()
		if m.Descriptor().Name() == "KeyValue" || r.IntN(4) > 0 {
			randomField(r, m, of.Get(r.IntN(of.Len())), depth)
		}
	}
}

func randomField(r *rand.Rand, m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.IsList() && f.Kind() == protoreflect.MessageKind:
		for range r.IntN(3) {
			random(r, m.Mutable(f).List().AppendMutable().Message(), depth+1)
		}
	case f.IsList():
		for range r.IntN(3) {
			m.Mutable(f).List().Append(randomScalar(r, f))
		}
	case f.Kind() == protoreflect.MessageKind:
		random(r, m.Mutable(f).Message(), depth+1)
	default:
		m.Set(f, randomScalar(r, f))
	}
}

func randomScalar(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(1 + r.IntN(24)))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(r.IntN(256)))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(int64(r.Uint64()) >> r.IntN(60))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(r.Uint64() >> (1 + r.IntN(60)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(r.NormFloat64() * float64(int64(1)<<r.IntN(60)))
	case protoreflect.BytesKind:
		size := map[protoreflect.Name]int{"trace_id": 16, "span_id": 8, "parent_span_id": 8}[f.Name()]
		b := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, r.Uint64()|1), r.Uint64()|1)
		if size == 0 {
			size = r.IntN(len(b))
		}
		return protoreflect.ValueOfBytes(b[:size])
	default:
		words := []string{"", "a", "zażółć", "\"q\"\n\t\x01", "k8s.pod.name", "id", "body", "data", "x1", "😀", "long text that fills more than one word of eight bytes"}
		return protoreflect.ValueOfString(words[r.IntN(len(words))])
	}
}

// differ compares; a message that is there but empty counts as absent.
func differ(want, got *eventv1.Event) string {
	if proto.Equal(want, got) {
		return "" // much faster than cmp
	}
	return cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreEmptyMessages())
}

func randomEvent(r *rand.Rand) *eventv1.Event {
	m := &eventv1.Event{}
	random(r, m.ProtoReflect(), 0)
	return m
}

// TestViewShowsTheMessage: what the view and its getters say is what the message says.
func TestViewShowsTheMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		m := randomEvent(r)
		e, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := differ(m, fromGetters(&e)); diff != "" {
			t.Fatalf("read through the view (-want +got):\n%s", diff)
		}
	}
}

// TestPatchMerges appends random messages to random events and compares the view with what
// protobuf makes of it.
func TestPatchMerges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	d := decode.New(decode.Limits{})
	for i := range 500 {
		merged := randomEvent(r)
		e := through(t, d, merged)
		for range 3 {
			more := randomEvent(r)
			encoded, err := proto.Marshal(more)
			if err != nil {
				t.Fatal(err)
			}
			e.AppendEncoded(encoded)
			proto.Merge(merged, more)
		}
		want := &eventv1.Event{}
		if err := proto.Unmarshal(e.AppendProto(nil), want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(merged, want) {
			t.Fatalf("appended encoding (-merge +got):\n%s", differ(merged, want))
		}
		if diff := differ(want, fromGetters(&e)); diff != "" {
			t.Fatalf("read through the view (-want +got):\n%s", diff)
		}
		if i%16 == 0 {
			d.Reset()
		}
	}
}

// through sends m through a frame.
func through(t *testing.T, d *decode.Decoder, m *eventv1.Event) event.Event {
	t.Helper()
	e, err := event.FromProto(m, event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	events, bad := d.Decode(nil, decode.Message{Data: frame.Append(nil, frame.Header{}, &e)})
	if len(bad) > 0 || len(events) != 1 {
		t.Fatalf("a frame of one event gives %d events and %v", len(events), bad)
	}
	return events[0]
}

// TestSettersEqualTheMessage: each Set and Add method leaves the view, its getters and the
// encoded bytes in agreement, and replaces or adds as it says.
func TestSettersEqualTheMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	d := decode.New(decode.Limits{})
	for range 500 {
		m := randomEvent(r)
		e := through(t, d, m)
		change(&e, m)
		got, err := e.ToProto()
		if err != nil {
			t.Fatal(err)
		}
		if diff := differ(m, got); diff != "" {
			t.Fatalf("encoded (-want +got):\n%s", diff)
		}
		if diff := differ(m, fromGetters(&e)); diff != "" {
			t.Fatalf("read through the view (-want +got):\n%s", diff)
		}
	}
}

// change uses every setter on e and does the same to m.
func change(e *event.Event, m *eventv1.Event) {
	ref := event.EntityRef{Kind: "Pod", Namespace: "shop", Name: "cart", UID: "u", APIVersion: "v1", Cluster: "c", Role: "owner"}
	refProto := &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "cart", Uid: "u", ApiVersion: "v1", Cluster: "c", Role: "owner"}
	e.AddRelated(ref)
	m.Related = append(m.Related, refProto)
	e.SetEntity(ref)
	m.Entity = refProto
	e.AddResource("k", "v")
	m.Resource = append(m.Resource, stringPair("k", "v"))
	e.AddAttribute("n", event.IntValue(-3))
	m.Attributes = append(m.Attributes, &eventv1.KeyValue{Key: "n", Value: &eventv1.KeyValue_IntValue{IntValue: -3}})
	e.SetSemantic(event.Semantic{Class: "oom-kill", RuleID: "r", Confidence: 0.5})
	m.Semantic = &eventv1.Semantic{Class: "oom-kill", RuleId: "r", Confidence: 0.5}
	e.SetImpact(event.Impact{Criticality: "high", AffectedServices: []string{"a", ""}, AffectedPods: 2, Reasons: []string{"x"}})
	m.Impact = &eventv1.Impact{Criticality: "high", AffectedServices: []string{"a", ""}, AffectedPods: 2, Reasons: []string{"x"}}
	e.SetCorrelation(event.Correlation{CorrelationID: "c", Links: []event.Link{{EventID: "1", Relation: "owner", DeltaNs: -9}}})
	e.AddLink(event.Link{EventID: "2", RuleID: "r", DeltaNs: 1 << 40})
	m.Correlation = &eventv1.Correlation{CorrelationId: "c", Links: []*eventv1.Link{
		{EventId: "1", Relation: "owner", DeltaNs: -9}, {EventId: "2", RuleId: "r", DeltaNs: 1 << 40},
	}}
	e.AddEnrichment("kubernetes", "ok", 77)
	m.Enrichment = append(m.Enrichment, &eventv1.Enrichment{By: "kubernetes", Status: "ok", AtUnixNano: 77})
	trace := event.TraceContext{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Flags: 1}
	e.AddSpanLink(event.SpanLink{TraceID: trace.TraceID[:], SpanID: trace.SpanID[:]})
	m.SpanLinks = append(m.SpanLinks, &eventv1.SpanLink{TraceId: trace.TraceID[:], SpanId: trace.SpanID[:]})
	e.SetTrace(trace)
	m.TraceId, m.SpanId, m.TraceFlags = trace.TraceID[:], trace.SpanID[:], 1
	e.SetSeverity(17, "ERROR")
	m.SeverityNumber, m.SeverityText = 17, "ERROR"
	e.SetTime(5)
	e.SetIngestTime(6)
	e.SetPartitionKey("")
	m.TimeUnixNano, m.IngestTimeUnixNano, m.PartitionKey = 5, 6, ""
}

func stringPair(k, v string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: k, Value: &eventv1.KeyValue_StringValue{StringValue: v}}
}

// TestPatchesDoNotAlias grows the patches of many events in turns.
func TestPatchesDoNotAlias(t *testing.T) {
	d := decode.New(decode.Limits{})
	var block frame.Writer
	block.Begin(frame.Header{})
	var events []event.Event
	for range 3 {
		d.Reset()
		block.Begin(frame.Header{})
		for range 100 {
			encoded, _ := proto.Marshal(&eventv1.Event{Id: "x"})
			block.AddEncoded(encoded, 0)
		}
		events, _ = d.Decode(events[:0], decode.Message{Data: block.AppendTo(nil)})
		for round := range 20 {
			for i := range events {
				events[i].AddAttribute("round", event.IntValue(int64(i*1000+round)))
			}
		}
		for i := range events {
			round := 0
			events[i].Attributes(func(_ string, v event.Value) bool {
				if n, _ := v.Int(); n != int64(i*1000+round) {
					t.Fatalf("event %d, attribute %d is %d", i, round, n)
				}
				round++
				return true
			})
			if round != 20 {
				t.Fatalf("event %d has %d attributes, want 20", i, round)
			}
		}
	}
}

// TestCloudEventComesBack: a random event survives the way through a structured CloudEvent, as far as that
// can say everything.
func TestCloudEventComesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		m := randomEvent(r)
		sayable(m)
		e, err := event.FromProto(m, event.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		structured, err := cloudevent.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		comesBack(t, m, decode.Message{Data: structured})
	}
}

func comesBack(t *testing.T, want *eventv1.Event, m decode.Message) {
	t.Helper()
	got, err := one(t, m)[0].ToProto()
	if err != nil {
		t.Fatal(err)
	}
	if diff := differ(want, got); diff != "" {
		t.Fatalf("from %s (-want +got):\n%s", m.Data, diff)
	}
}

// sayable changes what JSON and CloudEvents have no words for: pairs with one key or with
// bytes, extensions of other names and types, an empty payload with a type.
func sayable(m *eventv1.Event) {
	m.Resource, m.Attributes, m.Extensions = pairs(m.Resource, "r"), pairs(m.Attributes, "a"), nil
	m.Extensions = append(m.Extensions, stringPair("zone", "eu"), &eventv1.KeyValue{
		Key: "flag", Value: &eventv1.KeyValue_BoolValue{BoolValue: true},
	})
	m.DataContentType, m.DataSchema, m.Data = "text/plain", "https://example.com", []byte("some \"text\"")
	if m.TraceId == nil || m.SpanId == nil {
		m.TraceFlags = 0
	}
	if m.SeverityNumber == 0 { // is derived from the text
		m.SeverityText = ""
	}
}

func pairs(all []*eventv1.KeyValue, key string) []*eventv1.KeyValue {
	for i, kv := range all {
		kv.Key = key + string(rune('0'+i))
		if _, ok := kv.GetValue().(*eventv1.KeyValue_BytesValue); ok {
			kv.Value = &eventv1.KeyValue_StringValue{StringValue: "x"}
		}
	}
	return all
}
