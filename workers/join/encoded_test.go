package join

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

func newJoinOfTests(t testing.TB) *join {
	t.Helper()
	c := configOf(nil)
	j, err := newJoin(stage.Settings{Config: &c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// grown is an event as branches hand it on: what was received in one of two orders, and what each has appended.
func grown(r *rand.Rand, received [][]byte, branch int) []byte {
	parts := slices.Clone(received)
	if r.IntN(2) > 0 { // as frames write what events of a source have in common first
		slices.Reverse(parts)
	}
	text := func(k, v string) *eventv1.KeyValue {
		return &eventv1.KeyValue{Key: k, Value: &eventv1.KeyValue_StringValue{StringValue: v}}
	}
	adds := []*eventv1.Event{
		{Attributes: []*eventv1.KeyValue{text(fmt.Sprint("of", branch), "x"), text("both", fmt.Sprint(r.IntN(6)/5))}},
		{Resource: []*eventv1.KeyValue{text("k8s.pod.name", "p"), text("received", fmt.Sprint(r.IntN(6)/5))}},
		{Extensions: []*eventv1.KeyValue{text("e", "1")}},
		{Enrichment: []*eventv1.Enrichment{{By: fmt.Sprint("by", r.IntN(2)), Status: []string{"ok", "miss"}[r.IntN(5)/4]}}},
		{Related: []*eventv1.EntityRef{{Kind: "Node", Name: "n"}, {Kind: "Pod", Name: fmt.Sprint(r.IntN(2))}}},
		{Semantic: &eventv1.Semantic{Class: "oom-kill"}},
		{Impact: &eventv1.Impact{Score: .5}},
		{Correlation: &eventv1.Correlation{CorrelationId: fmt.Sprint(r.IntN(2))}},
		{SpanLinks: []*eventv1.SpanLink{{TraceId: []byte("t")}}},
		{SeverityNumber: int32(9 + r.IntN(2))},
		{SeverityText: "warn"},
		{Signal: &eventv1.Event_Log{Log: &eventv1.Log{Logger: "l"}}},
		{Signal: &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m"}}},
		{Attributes: []*eventv1.KeyValue{text("join.result", "silent")}},
		{IngestTimeUnixNano: 5 + uint64(r.IntN(2))},
		{Data: []byte("d")},
	}
	for range r.IntN(4) {
		part, _ := proto.Marshal(adds[min(r.IntN(len(adds)), r.IntN(len(adds)))])
		parts = append(parts, part)
	}
	return slices.Concat(parts...)
}

// TestFieldsAreThoseOfEvents: what the merger knows of the fields of events is what their schema says.
func TestFieldsAreThoseOfEvents(t *testing.T) {
	fields := (&eventv1.Event{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Number() >= numbers {
			t.Errorf("%s: the merger decodes every event with a field of number %d", f.Name(), f.Number())
			continue
		}
		bit := uint64(1) << f.Number()
		if signal := f.ContainingOneof() != nil; signal != (signals&bit != 0) {
			t.Errorf("%s: one of the signals: %v; the merger says %v", f.Name(), signal, !signal)
		}
		if list := f.IsList(); list != ((keyed|lists)&bit != 0) {
			t.Errorf("%s: has several entries: %v; the merger says %v", f.Name(), list, !list)
		}
	}
}

// TestManyEntries: entries that stand in another order are not looked for one by one where they are many.
func TestManyEntries(t *testing.T) {
	var all []*eventv1.KeyValue
	for n := range 20_000 {
		all = append(all, &eventv1.KeyValue{Key: fmt.Sprint(n), Value: &eventv1.KeyValue_BoolValue{BoolValue: true}})
	}
	var answers [][]byte
	for _, entries := range [][]*eventv1.KeyValue{all, append(slices.Clone(all[1:]), all[0])} {
		encoded, err := proto.Marshal(&eventv1.Event{Attributes: entries})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, encoded)
	}
	var m merger
	if _, ok := m.merge(answers); ok {
		t.Error("20,000 entries were looked for among 20,000")
	}
	if _, ok := m.merge([][]byte{answers[0], answers[0]}); !ok {
		t.Error("20,000 entries in the same order were not merged as they are")
	}
}

// TestMergesEncodedEvents: what is merged in the encoded form is what the decoded events merge to.
func TestMergesEncodedEvents(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 4))
	j := newJoinOfTests(t)
	fast, extended := 0, 0
	for n := range 2_000 {
		lead, _ := proto.Marshal(&eventv1.Event{Source: "s", Type: "t", Resource: []*eventv1.KeyValue{{Key: "received", Value: &eventv1.KeyValue_StringValue{StringValue: "0"}}}})
		own, _ := proto.Marshal(&eventv1.Event{Id: fmt.Sprint(n), Subject: "x", Body: "body", TimeUnixNano: 7, IngestTimeUnixNano: 5, SeverityNumber: 9})
		b := &barrier{}
		for i := range 1 + r.IntN(3) {
			branch := i % 2
			event := grown(r, [][]byte{lead, own}, i)
			b.add(branch, int64(r.IntN(1e9)), event, shared(b.first, event))
			if got := b.event(&b.answers[i]); !bytes.Equal(got, event) {
				t.Fatalf("event %d: answer %d is %x, want %x", n, i, got, event)
			}
			b.answered |= 1 << branch
		}
		b.inOrder()
		want := j.result(b, complete)
		if _, ok := j.merger.extend(b); ok {
			extended++
		}
		got, ok := j.encodedResult(b, complete)
		if !ok {
			continue
		}
		fast++
		if diff := cmp.Diff(want, decoded(got), protocmp.Transform()); diff != "" {
			t.Fatalf("event %d: from decoded events (-) and from encoded ones (+)\n%s", n, diff)
		}
	}
	if fast < 700 || extended < 700 {
		t.Errorf("%d of 2,000 were merged without being decoded, %d by what they have in common: want 700", fast, extended)
	}
}

// BenchmarkBarrier is the cost of a barrier of two branches, one of which has set an attribute.
func BenchmarkBarrier(b *testing.B) {
	j := newJoinOfTests(b)
	batch := &stage.Batch{Now: time.Unix(1000, 0), Newest: time.Unix(999, 0)}
	read := func(input, n int, more ...*eventv1.KeyValue) event.Event {
		m := &eventv1.Event{
			Id: fmt.Sprint("event-", n), Source: "kubernetes/prod", Type: "k8s.pod.oom_killed", Subject: "pods/shop/cart-7d9", TimeUnixNano: 7, IngestTimeUnixNano: 9,
			SeverityNumber: 13, Body: "container cart was killed: out of memory", Entity: &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: "cart-7d9"},
		}
		for i := range 8 {
			m.Attributes = append(m.Attributes, &eventv1.KeyValue{Key: fmt.Sprint("attribute.", i), Value: &eventv1.KeyValue_StringValue{StringValue: "value"}})
		}
		m.Attributes = append(m.Attributes, more...)
		e, err := event.FromProto(m, event.Origin{Input: input, Sequence: uint64(n)})
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
	const size = 500
	var of [2][]event.Event
	for n := range size {
		of[0] = append(of[0], read(0, n))
		of[1] = append(of[1], read(1, n, &eventv1.KeyValue{Key: "score", Value: &eventv1.KeyValue_IntValue{IntValue: 3}}))
	}
	b.ReportAllocs()
	for b.Loop() {
		for input := range of {
			batch.Events = of[input]
			batch.Reset(1)
			if err := j.Process(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			if _, err := j.Watermark(b.Context(), input, time.Unix(998, 0), batch); err != nil {
				b.Fatal(err)
			}
		}
		if len(batch.Produced()) != size {
			b.Fatalf("%d results", len(batch.Produced()))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/barrier")
}
