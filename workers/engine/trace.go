package engine

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/event"
)

// Traces: one span for each step at each stage, never one for an event. It begins when the stage
// takes the step up. That of the first stage ends when all that the step caused is stored, those of
// stages that are chained to it when they have decided.
//
// The parent is what the header traceparent of a message of the step says, a sampled one before
// others; the other messages and the traces of the events themselves become links, up to maxLinks of each.
// Frames and insights carry the span in their header traceparent, so the next stage goes on with the same trace.
//
// Without a tracer a step has no stepTrace, and each of its methods returns at once.

const (
	headerTraceparent = chain.HeaderTraceparent
	headerTracestate  = chain.HeaderTracestate
	// maxLinks bounds the links of a span to messages, and those to events.
	maxLinks = 16
	// maxLooked bounds how many events of one call are looked at for links.
	maxLooked = 256
)

// stepTrace is what is traced of one step.
type stepTrace struct {
	tracer trace.Tracer
	now    func() time.Time
	// parents are the stages that the stages are chained to, by node; that of the first is itself.
	parents []int
	// began and ended are when the stages took the step up and had decided, Unix nanoseconds; 0 = never.
	began, ended []int64
	// spans are nil until the step is stored, and where a stage had nothing to do.
	spans []trace.Span
	links []trace.Link // to the traces of events
}

// newStepTrace returns nil when nothing is traced.
func (e *Engine) newStepTrace() *stepTrace {
	if e.opts.Tracer == nil {
		return nil
	}
	n := len(e.nodes)
	t := &stepTrace{
		tracer: e.opts.Tracer, now: e.now, parents: make([]int, n), began: make([]int64, n), ended: make([]int64, n), spans: make([]trace.Span, n),
	}
	copy(t.parents, e.graph.Parents())
	t.parents[0] = 0
	return t
}

// reset forgets the step before.
func (t *stepTrace) reset() {
	if t == nil {
		return
	}
	clear(t.began)
	clear(t.ended)
	clear(t.spans)
	t.links = t.links[:0]
}

// Enter notes that stage n takes events up.
func (t *stepTrace) Enter(n *chain.Node, events []event.Event) {
	now := t.now()
	if t.began[n.Index] == 0 {
		t.began[n.Index] = now.UnixNano()
	}
	if n.Index > 0 {
		return // the links are those of the first stage
	}
	for i := range events[:min(len(events), maxLooked)] {
		if len(t.links) == maxLinks {
			return
		}
		c, ok := events[i].Trace()
		if !ok || c.Flags&1 == 0 {
			continue
		}
		if k := len(t.links); k > 0 && t.links[k-1].SpanContext.TraceID() == trace.TraceID(c.TraceID) {
			continue // of the same trace as the one before
		}
		t.links = append(t.links, trace.Link{SpanContext: remote(c, "")})
	}
}

// Leave notes that stage n has decided.
func (t *stepTrace) Leave(n *chain.Node) { t.ended[n.Index] = t.now().UnixNano() }

// begin makes the spans of a step that is about to be stored.
func (t *stepTrace) begin(ctx context.Context, l *lane, s *step) {
	if t == nil || len(s.messages) == 0 && len(s.Pending) == 0 {
		return // off, or a flush that led to nothing
	}
	now := l.e.now().UnixNano()
	parent, links := contexts(s)
	ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	for i, n := range l.e.nodes {
		tl := &s.Tallies[i]
		if i > 0 && t.began[i] == 0 && len(tl.Produced) == 0 {
			continue // nothing reached it
		}
		options := []trace.SpanStartOption{trace.WithTimestamp(unixNano(t.began[i], now))}
		within := ctx
		if i == 0 {
			options = append(options, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...), trace.WithLinks(t.links...))
		} else {
			above := t.spans[t.parents[i]]
			if above == nil {
				above = t.spans[0]
			}
			within = trace.ContextWithSpan(ctx, above)
		}
		_, span := t.tracer.Start(within, "process "+n.cfg.Stage, options...)
		t.spans[i] = span
		if span.IsRecording() {
			span.SetAttributes(
				attribute.String("millrace.pipeline", n.cfg.Pipeline.String()), attribute.String("millrace.stage", n.cfg.Stage),
				attribute.Int("millrace.lane", l.index), attribute.Int64("millrace.events", tl.Events),
				attribute.Int64("millrace.emitted", tl.Emitted), attribute.Int64("millrace.filtered", tl.Filtered),
				attribute.Int64("millrace.duplicates", tl.Duplicates), attribute.Int64("millrace.kept", tl.Kept), attribute.Int64("millrace.dead_lettered", tl.DeadLettered),
			)
			if i == 0 {
				span.SetAttributes(messaging(s)...)
				span.AddEvent("processed", trace.WithTimestamp(unixNano(t.ended[0], now)))
			}
		}
		if i > 0 {
			span.End(trace.WithTimestamp(unixNano(t.ended[i], now)))
		}
	}
}

// end ends the span of the first stage: the step is stored, or err says why not.
func (t *stepTrace) end(l *lane, err error) {
	if t == nil || t.spans[0] == nil {
		return
	}
	if err != nil {
		t.spans[0].SetStatus(codes.Error, err.Error())
	}
	t.spans[0].End(trace.WithTimestamp(l.e.now()))
}

// inject has the records for an outlet carry the span of the stage that made them. Dead letters keep the
// headers that their sender gave them.
func (t *stepTrace) inject(at *chain.Outlet, records []track.Record) {
	if t == nil || at.Port.Out.Format == config.FormatRaw {
		return
	}
	span := t.spans[at.Node.Index]
	if span == nil {
		span = t.spans[0]
	}
	if span == nil || !span.SpanContext().IsValid() {
		return
	}
	c := span.SpanContext()
	id, spanID := c.TraceID(), c.SpanID()
	parent := []string{string(event.AppendTraceparent(nil, id[:], spanID[:], byte(c.TraceFlags())))}
	state := c.TraceState().String()
	for i := range records {
		h := records[i].Message.Header
		h[headerTraceparent] = parent
		delete(h, headerTracestate)
		if state != "" && len(state) <= chain.MaxTraceHeader && at.Port.Out.Format == config.FormatFrame { // others may have no room for it
			h[headerTracestate] = []string{state}
		}
	}
}

// contexts are the trace contexts of the messages of a step: one that the step belongs to, and links to
// others.
func contexts(s *step) (parent trace.SpanContext, links []trace.Link) {
	for _, m := range s.messages {
		c, ok := contextOf(m.Header)
		switch {
		case !ok:
		case !parent.IsValid():
			parent = c
		case c.IsSampled() && !parent.IsSampled():
			parent = c
		case c.IsSampled() && !c.Equal(parent) && len(links) < maxLinks:
			links = append(links, trace.Link{SpanContext: c})
		}
	}
	return parent, links
}

func contextOf(h nats.Header) (trace.SpanContext, bool) {
	values := h[headerTraceparent]
	if len(values) == 0 {
		return trace.SpanContext{}, false
	}
	c, err := event.ParseTraceparent(values[0])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return remote(c, h.Get(headerTracestate)), true
}

// remote is c as OpenTelemetry writes it. A trace state that is not valid is dropped, as W3C says.
func remote(c event.TraceContext, state string) trace.SpanContext {
	config := trace.SpanContextConfig{TraceID: c.TraceID, SpanID: c.SpanID, TraceFlags: trace.TraceFlags(c.Flags), Remote: true}
	if s, err := trace.ParseTraceState(state); err == nil {
		config.TraceState = s
	}
	return trace.NewSpanContext(config)
}

// messaging are the attributes that OpenTelemetry's conventions have for a consumer of messages.
func messaging(s *step) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "process"),
		attribute.Int("messaging.batch.message_count", len(s.messages)),
	}
	if len(s.messages) > 0 {
		m := s.messages[0]
		all = append(all,
			attribute.String("messaging.destination.name", m.Input.Config.Stream), attribute.String("messaging.consumer.group.name", m.Input.Config.Durable),
			attribute.String("messaging.message.id", strconv.FormatUint(m.Sequence, 10)))
	}
	return all
}

func unixNano(ns, otherwise int64) time.Time {
	if ns == 0 {
		ns = otherwise
	}
	return time.Unix(0, ns)
}
