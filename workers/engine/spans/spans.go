package spans

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/track"
	"millrace.dev/millrace/workers/event"
)

const (
	headerTraceparent = chain.HeaderTraceparent
	headerTracestate  = chain.HeaderTracestate
	// maxLinks bounds the links of a span to messages, and those to events.
	maxLinks = 16
	// maxLooked bounds how many events of one call are looked at for links.
	maxLooked = 256
)

// Options say whose steps are traced.
type Options struct {
	// Tracer makes the spans; nil = nothing is traced.
	Tracer   trace.Tracer
	Now      func() time.Time
	Pipeline string
	// Stages are the names of the stages of the worker, Parents those that they are chained to, by their numbers.
	Stages  []string
	Parents []int
	Inputs  []config.Input
	Lane    int
}

// Step is what is traced of one step. A nil one traces nothing.
type Step struct {
	opts *Options
	// began and ended are when the stages took the step up and had decided, Unix nanoseconds; 0 = never.
	began, ended []int64
	// spans are nil until the step is stored, and where a stage had nothing to do.
	spans []trace.Span
	links []trace.Link // to the traces of events
}

// New returns nil when nothing is traced.
func New(o *Options) *Step {
	if o.Tracer == nil {
		return nil
	}
	n := len(o.Stages)
	return &Step{opts: o, began: make([]int64, n), ended: make([]int64, n), spans: make([]trace.Span, n)}
}

// Reset forgets the step before.
func (t *Step) Reset() {
	if t == nil {
		return
	}
	clear(t.began)
	clear(t.ended)
	clear(t.spans)
	t.links = t.links[:0]
}

// Enter notes that stage n takes events up.
func (t *Step) Enter(n *chain.Node, events []event.Event) {
	now := t.opts.Now()
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
func (t *Step) Leave(n *chain.Node) { t.ended[n.Index] = t.opts.Now().UnixNano() }

// Begin makes the spans of a step that is about to be stored.
func (t *Step) Begin(ctx context.Context, s *chain.Step) {
	if t == nil || len(s.Messages) == 0 && len(s.Pending) == 0 {
		return // off, or a flush that led to nothing
	}
	now := t.opts.Now().UnixNano()
	parent, links := contexts(s)
	ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	for i, name := range t.opts.Stages {
		tl := &s.Tallies[i]
		if i > 0 && t.began[i] == 0 && len(tl.Produced) == 0 {
			continue // nothing reached it
		}
		options := []trace.SpanStartOption{trace.WithTimestamp(unixNano(t.began[i], now))}
		within := ctx
		if i == 0 {
			options = append(options, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...), trace.WithLinks(t.links...))
		} else {
			above := t.spans[max(t.opts.Parents[i], 0)]
			if above == nil {
				above = t.spans[0]
			}
			within = trace.ContextWithSpan(ctx, above)
		}
		_, span := t.opts.Tracer.Start(within, "process "+name, options...)
		t.spans[i] = span
		if span.IsRecording() {
			span.SetAttributes(
				attribute.String("millrace.pipeline", t.opts.Pipeline), attribute.String("millrace.stage", name),
				attribute.Int("millrace.lane", t.opts.Lane), attribute.Int64("millrace.events", tl.Events),
				attribute.Int64("millrace.emitted", tl.Emitted), attribute.Int64("millrace.filtered", tl.Filtered),
				attribute.Int64("millrace.duplicates", tl.Duplicates), attribute.Int64("millrace.kept", tl.Kept), attribute.Int64("millrace.dead_lettered", tl.DeadLettered),
			)
			if i == 0 {
				span.SetAttributes(t.messaging(s)...)
				span.AddEvent("processed", trace.WithTimestamp(unixNano(t.ended[0], now)))
			}
		}
		if i > 0 {
			span.End(trace.WithTimestamp(unixNano(t.ended[i], now)))
		}
	}
}

// End ends the span of the first stage: the step is stored, or err says why not.
func (t *Step) End(err error) {
	if t == nil || t.spans[0] == nil {
		return
	}
	if err != nil {
		t.spans[0].SetStatus(codes.Error, err.Error())
	}
	t.spans[0].End(trace.WithTimestamp(t.opts.Now()))
}

// Inject has the records for an outlet carry the span of the stage that made them. Dead letters keep the
// headers that their sender gave them.
func (t *Step) Inject(at *chain.Outlet, records []track.Record) {
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
func contexts(s *chain.Step) (parent trace.SpanContext, links []trace.Link) {
	for i := range s.Messages {
		c, ok := contextOf(s.Messages[i].Header)
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

func contextOf(h map[string][]string) (trace.SpanContext, bool) {
	values := h[headerTraceparent]
	if len(values) == 0 {
		return trace.SpanContext{}, false
	}
	c, err := event.ParseTraceparent(values[0])
	if err != nil {
		return trace.SpanContext{}, false
	}
	state := ""
	if values := h[headerTracestate]; len(values) > 0 {
		state = values[0]
	}
	return remote(c, state), true
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
func (t *Step) messaging(s *chain.Step) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "process"),
		attribute.Int("messaging.batch.message_count", len(s.Messages)),
	}
	if len(s.Messages) > 0 {
		m := &s.Messages[0]
		in := t.opts.Inputs[m.Input]
		all = append(all,
			attribute.String("messaging.destination.name", in.Stream), attribute.String("messaging.consumer.group.name", in.Durable),
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
