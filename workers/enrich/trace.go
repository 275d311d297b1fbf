package enrich

import (
	"bytes"

	"millrace.dev/millrace/workers/event"
)

// trace gives events a valid W3C trace context and links to the spans that they follow from.
type trace struct{ ok, miss *event.Prepared }

func newTrace() *trace {
	return &trace{
		ok:   prepareEnrichment("trace", StatusOK, 0),
		miss: prepareEnrichment("trace", StatusMiss, 0),
	}
}

// enrich takes the trace context out of traceparent when the event has none that is valid,
// and links the event to its parent span and to the span that its cause names.
//
// traceparent is read from the extension of that name, which CloudEvents defines to hold the
// starting trace, and from the attribute. The cause is a causationid or correlationid that is
// itself a traceparent, as systems write that pass trace contexts for ids.
func (t *trace) enrich(e *event.Event) Status {
	context, ok := e.Trace()
	if !ok {
		if context, ok = traceparent(e); ok {
			e.SetTrace(context)
		}
	}
	t.link(e, context, ok)
	if !ok {
		e.AppendPrepared(t.miss)
		return StatusMiss
	}
	e.AppendPrepared(t.ok)
	return StatusOK
}

func traceparent(e *event.Event) (context event.TraceContext, ok bool) {
	value, found := e.Extension("traceparent")
	if !found {
		value, found = e.Attribute("traceparent")
	}
	if !found {
		return context, false
	}
	context, err := event.ParseTraceparent(value.Str())
	return context, err == nil
}

// link adds the span links that the event does not have yet.
func (t *trace) link(e *event.Event, context event.TraceContext, traced bool) {
	if parent := e.ParentSpanID(); traced && parent != nil && !bytes.Equal(parent, context.SpanID[:]) && !zero(parent) {
		addLink(e, event.SpanLink{TraceID: context.TraceID[:], SpanID: parent})
	}
	c, ok := e.Correlation()
	if !ok {
		return
	}
	for _, id := range []string{c.CausationID, c.CorrelationID} {
		cause, err := event.ParseTraceparent(id)
		if id == "" || err != nil || cause.TraceID == context.TraceID && cause.SpanID == context.SpanID {
			continue
		}
		addLink(e, event.SpanLink{TraceID: cause.TraceID[:], SpanID: cause.SpanID[:]})
	}
}

func addLink(e *event.Event, l event.SpanLink) {
	for have := range e.SpanLinks {
		if bytes.Equal(have.TraceID, l.TraceID) && bytes.Equal(have.SpanID, l.SpanID) {
			return
		}
	}
	e.AddSpanLink(l)
}

func zero(id []byte) bool {
	for _, b := range id {
		if b != 0 {
			return false
		}
	}
	return true
}
