package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"github.com/bytedance/sonic"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
)

// benchLine is a native event of about 600 bytes, as collectors send them.
func benchLine(i int) []byte {
	return fmt.Appendf(nil, `{"id":"evt-%08d","source":"/clusters/dev/nodes/worker-%02d/kubelet","type":"app.log","subject":"shop/cart-7d9f8b6c5-%05d",`+
		`"time":"2026-01-02T15:04:05.%09dZ","severitytext":"WARN","severitynumber":13,`+
		`"entity":{"kind":"Pod","namespace":"shop","name":"cart-7d9f8b6c5-%05d","uid":"5f0c2f6e-7f2b-4a51-9d0e-%012d"},`+
		`"body":"upstream call to payments failed after 3 attempts: connection refused",`+
		`"resource":{"service.name":"cart","k8s.namespace.name":"shop","k8s.node.name":"worker-%02d"},`+
		`"attributes":{"http.response.status_code":503,"duration_ms":12.75},"log":{"logger":"http.client","errorType":"ECONNREFUSED"},`+
		`"traceparent":"00-4bf92f3577b34da6a3ce929d0e%06x-00f067aa0ba902b7-01"}`, i, i%20, i%500, i, i%500, i, i%20, i)
}

const benchEvents = 256

func benchFrame(b *testing.B) []byte {
	b.Helper()
	var text []byte
	for i := range benchEvents {
		text = append(append(text, benchLine(i)...), '\n')
	}
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: text, Time: 7})
	if len(bad) > 0 || len(events) != benchEvents {
		b.Fatal(bad)
	}
	var w frame.Writer
	w.Begin(frame.Header{InputStream: "RAW_EVENTS"})
	for i := range events {
		w.Add(&events[i])
	}
	b.Logf("%d B of JSON, %d B encoded, %d B in the frame per event", len(text)/benchEvents, w.Size()/benchEvents, len(w.AppendTo(nil))/benchEvents)
	return w.AppendTo(nil)
}

// perEvent reports the CPU time per event: on a busy machine the clock says little.
func perEvent(b *testing.B, perLoop int) func() {
	b.Helper()
	b.ReportAllocs()
	start := cpuTime(b)
	return func() {
		b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N*perLoop), "cpu-ns/event")
	}
}

func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkFrameDecode(b *testing.B) {
	m := decode.Message{Header: contentType(event.ContentTypeFrame), Data: benchFrame(b)}
	d := decode.New(decode.Limits{})
	var events []event.Event
	defer perEvent(b, benchEvents)()
	for b.Loop() {
		d.Reset()
		events, _ = d.Decode(events[:0], m)
	}
}

func BenchmarkFrameEncode(b *testing.B) {
	d := decode.New(decode.Limits{})
	events, _ := d.Decode(nil, decode.Message{Data: benchFrame(b)})
	var w frame.Writer
	var out []byte
	defer perEvent(b, benchEvents)()
	for b.Loop() {
		w.Begin(frame.Header{InputStream: "RAW_EVENTS"})
		for i := range events {
			w.Add(&events[i])
		}
		out = w.AppendTo(out[:0])
	}
}

// BenchmarkStage is what one stage costs around its own work: decode a frame, append what
// enrich typically does, find the partitions, encode a frame.
func BenchmarkStage(b *testing.B) {
	m := decode.Message{Header: contentType(event.ContentTypeFrame), Data: benchFrame(b)}
	d := decode.New(decode.Limits{})
	var w frame.Writer
	var events []event.Event
	var out []byte
	defer perEvent(b, benchEvents)()
	for b.Loop() {
		d.Reset()
		events, _ = d.Decode(events[:0], m)
		w.Begin(frame.Header{InputStream: "RAW_EVENTS"})
		for i := range events {
			e := &events[i]
			e.AddRelated(event.EntityRef{Kind: "Node", Name: "worker-1", UID: "5f0c2f6e-7f2b-4a51-9d0e", Role: "node"})
			e.AddResource("k8s.deployment.name", "cart")
			e.SetSemantic(event.Semantic{Class: "dependency-failure", Category: "availability", RuleID: "r1", Confidence: 1})
			e.AddEnrichment("kubernetes", "ok", 1)
			_ = e.PartitionOf(8)
			w.Add(e)
		}
		out = w.AppendTo(out[:0])
	}
}

// BenchmarkHop is what a stage behind the first one costs: it believes hints, and events have leads and share fields.
func BenchmarkHop(b *testing.B) {
	d := decode.New(decode.Limits{Hints: true, Lift: true})
	w := frame.Writer{Hints: true}
	m := decode.Message{Header: contentType(event.ContentTypeFrame), Data: benchFrame(b)}
	var events []event.Event
	for range 3 { // a lead is one when it comes again
		d.Reset()
		events, _ = d.Decode(events[:0], m)
		w.Begin(frame.Header{})
		for i := range events {
			w.Add(&events[i])
		}
		m.Data = w.AppendTo(nil)
	}
	var out []byte
	defer perEvent(b, benchEvents)()
	for b.Loop() {
		d.Reset()
		events, _ = d.Decode(events[:0], m)
		w.Begin(frame.Header{})
		for i := range events {
			w.Add(&events[i])
		}
		out = w.AppendTo(out[:0])
	}
}

func BenchmarkJSONDecode(b *testing.B) {
	line := benchLine(1)
	d := decode.New(decode.Limits{})
	var events []event.Event
	b.SetBytes(int64(len(line)))
	defer perEvent(b, 1)()
	for b.Loop() {
		d.Reset()
		events, _ = d.Decode(events[:0], decode.Message{Data: line, Time: 7})
	}
}

func BenchmarkNDJSONDecode(b *testing.B) {
	var text []byte
	for i := range benchEvents {
		text = append(append(text, benchLine(i)...), '\n')
	}
	d := decode.New(decode.Limits{})
	var events []event.Event
	defer perEvent(b, benchEvents)()
	for b.Loop() {
		d.Reset()
		events, _ = d.Decode(events[:0], decode.Message{Header: contentType(event.ContentTypeNDJSON), Data: text, Time: 7})
	}
}

func BenchmarkCloudEventEncode(b *testing.B) {
	events, _ := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: benchLine(1)})
	var out []byte
	defer perEvent(b, 1)()
	for b.Loop() {
		out, _ = cloudevent.Append(out[:0], &events[0])
	}
}

func BenchmarkGetters(b *testing.B) {
	d := decode.New(decode.Limits{})
	events, _ := d.Decode(nil, decode.Message{Data: benchFrame(b)})
	e := &events[0]
	for name, get := range map[string]func(){
		"attribute": func() { e.Attribute("http.response.status_code") },
		"resource":  func() { e.Resource("k8s.node.name") },
		"log":       func() { e.Log() },
		"absent":    func() { e.Semantic() },
	} {
		b.Run(name, func(b *testing.B) {
			defer perEvent(b, 1)()
			for b.Loop() {
				get()
			}
		})
	}
}

// BenchmarkOthers is what general JSON decoders need for the same line, for comparison:
// they build maps, which would then have to be turned into events.
func BenchmarkOthers(b *testing.B) {
	line := benchLine(1)
	for name, read := range map[string]func([]byte, any) error{"encoding-json": json.Unmarshal, "sonic": sonic.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			defer perEvent(b, 1)()
			for b.Loop() {
				var m map[string]any
				if err := read(line, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if !bytes.Contains(line, []byte("evt-")) {
		b.Fatal("no line")
	}
}
