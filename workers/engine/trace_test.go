package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
)

const (
	sender   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ofEvent  = "0af7651916cd43dd8448eb211c80319c"
	unwanted = "00-11111111111111111111111111111111-2222222222222222-00"
)

// recorded is a tracer whose spans stay in memory.
func recorded(t *testing.T, options ...sdktrace.TracerProviderOption) (*tracetest.InMemoryExporter, trace.Tracer) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(exporter))...)
	t.Cleanup(func() { _ = provider.Shutdown(ctxOf(t)) })
	return exporter, provider.Tracer("test")
}

// traced publishes one event with a trace of its own in a message with another, runs the engine
// until all is acknowledged, and returns the header traceparent of what is on OUT.
func traced(t *testing.T, r *rig, header string, change func(*config.StageConfig, *engine.Options)) []string {
	t.Helper()
	m := nats.NewMsg("in.raw.x")
	if header != "" {
		m.Header.Set("traceparent", header)
	}
	r.send(m, fmt.Appendf(nil, `{"id":"a","source":"s","type":"t","traceparent":"00-%s-b7ad6b7169203331-01"}`, ofEvent))
	e := r.run(&testStage{}, change)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	var headers []string
	for _, m := range r.stored("OUT") {
		headers = append(headers, m.Headers().Get("traceparent"))
	}
	return headers
}

func TestSpanOfAStep(t *testing.T) {
	r := newRig(t)
	exporter, tracer := recorded(t)
	headers := traced(t, r, sender, func(_ *config.StageConfig, o *engine.Options) { o.Tracer = tracer })
	spans := exporter.GetSpans()
	if len(spans) != 1 || len(headers) != 1 {
		t.Fatalf("got %d spans and headers %q, want one of each", len(spans), headers)
	}
	s := spans[0]
	if s.Name != "process validate" || s.SpanKind != trace.SpanKindConsumer {
		t.Errorf("span %q of kind %v", s.Name, s.SpanKind)
	}
	if got := s.Parent; got.TraceID().String() != sender[3:35] || got.SpanID().String() != sender[36:52] || !got.IsRemote() {
		t.Errorf("parent %v, want that of the message", got)
	}
	c, err := event.ParseTraceparent(headers[0])
	if err != nil {
		t.Fatal(err)
	}
	if trace.SpanID(c.SpanID) != s.SpanContext.SpanID() || trace.TraceID(c.TraceID) != s.SpanContext.TraceID() || c.Flags != 1 {
		t.Errorf("the frame carries %s, want the span %v", headers[0], s.SpanContext)
	}
	if len(s.Links) != 1 || s.Links[0].SpanContext.TraceID().String() != ofEvent {
		t.Errorf("links %+v, want one to the trace of the event", s.Links)
	}
	attributes := map[string]string{}
	for _, a := range s.Attributes {
		attributes[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"millrace.pipeline": "default/test", "millrace.stage": "validate", "millrace.events": "1", "millrace.emitted": "1",
		"messaging.system": "nats", "messaging.destination.name": "IN", "messaging.batch.message_count": "1",
	} {
		if attributes[key] != want {
			t.Errorf("attribute %s: got %q, want %q", key, attributes[key], want)
		}
	}
	if !s.EndTime.After(s.StartTime) {
		t.Errorf("from %s to %s", s.StartTime, s.EndTime)
	}
}

// TestUnsampledTraceStaysUnsampled: nothing is recorded, and the next stage is told so.
func TestUnsampledTraceStaysUnsampled(t *testing.T) {
	r := newRig(t)
	exporter, tracer := recorded(t, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	headers := traced(t, r, unwanted, func(_ *config.StageConfig, o *engine.Options) { o.Tracer = tracer })
	if n := len(exporter.GetSpans()); n != 0 {
		t.Errorf("%d spans were recorded", n)
	}
	if len(headers) != 1 || headers[0][3:35] != unwanted[3:35] || headers[0][53:] != "00" {
		t.Errorf("the frame carries %q, want the trace of the message, not sampled", headers)
	}
}

// TestNoTracer: the frame keeps what its only message came with.
func TestNoTracer(t *testing.T) {
	r := newRig(t)
	if headers := traced(t, r, sender, nil); len(headers) != 1 || headers[0] != sender {
		t.Errorf("the frame carries %q, want %s", headers, sender)
	}
}

// TestLinksAreBounded: a step of many messages and events has one span with few links.
func TestLinksAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 100 {
		m := nats.NewMsg("in.raw.x")
		m.Header.Set("traceparent", fmt.Sprintf("00-%032x-%016x-01", i+1, i+1))
		r.send(m, fmt.Appendf(nil, `{"id":"%d","source":"s","type":"t","traceparent":"00-%032x-b7ad6b7169203331-01"}`, i, i+1000))
	}
	exporter, tracer := recorded(t)
	e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Tracer = tracer })
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	events, linked := 0, 0
	for _, s := range exporter.GetSpans() {
		if len(s.Links) > 32 {
			t.Errorf("a span has %d links", len(s.Links))
		}
		linked = max(linked, len(s.Links))
		for _, a := range s.Attributes {
			if a.Key == "millrace.events" {
				events += int(a.Value.AsInt64())
			}
		}
	}
	if events != 100 || linked < 2 {
		t.Errorf("the spans have %d events and up to %d links, want 100 and some", events, linked)
	}
}

// wantChainedSpans: what is chained to validate is below its span, and has seen what it let through.
func wantChainedSpans(t *testing.T, spans tracetest.SpanStubs) {
	t.Helper()
	heads, chained := map[trace.SpanID]bool{}, map[string]int{}
	for _, s := range spans {
		if s.Name == "process validate" {
			heads[s.SpanContext.SpanID()] = true
		}
	}
	for _, s := range spans {
		if s.Name == "process validate" {
			continue
		}
		chained[s.Name]++
		if !heads[s.Parent.SpanID()] || s.EndTime.Before(s.StartTime) {
			t.Errorf("span %s is below %s, from %s to %s", s.Name, s.Parent.SpanID(), s.StartTime, s.EndTime)
		}
	}
	if len(heads) == 0 || chained["process b"] != len(heads) || chained["process c"] != len(heads) {
		t.Errorf("%d steps have %v chained spans", len(heads), chained)
	}
}

// BenchmarkTracing is BenchmarkThroughServer without a tracer, with one that records nothing, and with
// one that records every step: the first one must cost what the engine cost before it knew of traces.
func BenchmarkTracing(b *testing.B) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	b.Cleanup(func() { _ = provider.Shutdown(ctxOf(b)) })
	for _, kind := range []struct {
		name   string
		tracer trace.Tracer
	}{{"off", nil}, {"noop", noop.NewTracerProvider().Tracer("")}, {"all", provider.Tracer("bench")}} {
		b.Run(kind.name, func(b *testing.B) { throughServer(b, false, kind.tracer) })
	}
}
