package cloudevent

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
	"millrace.dev/millrace/workers/event/jsontext"
)

// Append appends the event as one structured CloudEvent in JSON, on one line,
// with its members in a fixed order: the CloudEvents attributes, the extensions, then data.
//
// The payload of an event without typed members is data, as it came. Otherwise data holds
// the typed members, dataschema is DataSchema, and the payload is member payload of data.
// Decoding the result gives the event again. It fails when a nested field is malformed.
func Append(dst []byte, e *event.Event) ([]byte, error) {
	m, err := e.ToProto()
	if err != nil {
		return dst, err
	}
	return AppendProto(dst, m), nil
}

// AppendProto appends m as Append does.
func AppendProto(dst []byte, m *eventv1.Event) []byte {
	w := openObject(dst)
	w.text("specversion", "1.0")
	attributes(m, func(name string, v event.Value) {
		w.key(name)
		w.b = appendValue(w.b, v)
	})
	if typed := typedMembers(m); typed != nil {
		w.key("data")
		w.b = append(w.b, typed...)
	} else {
		w.payload(m)
	}
	return w.close()
}

// attributes calls put with the attributes and extensions of m in a fixed order.
func attributes(m *eventv1.Event, put func(string, event.Value)) {
	text := func(name, s string) {
		if s != "" {
			put(name, event.StringValue(s))
		}
	}
	at := func(name string, nanos uint64) {
		if nanos != 0 {
			put(name, event.StringValue(string(event.AppendTime(nil, int64(nanos)))))
		}
	}
	text("id", m.GetId())
	text("source", m.GetSource())
	text("type", m.GetType())
	text("subject", m.GetSubject())
	at("time", m.GetTimeUnixNano())
	if hasTyped(m) {
		text("datacontenttype", event.ContentTypeJSON)
		text("dataschema", DataSchema)
	} else {
		text("datacontenttype", m.GetDataContentType())
		text("dataschema", m.GetDataSchema())
	}
	at("observedtime", m.GetObservedTimeUnixNano())
	at("ingesttime", m.GetIngestTimeUnixNano())
	if n := m.GetSeverityNumber(); n != 0 {
		put("severitynumber", event.IntValue(int64(n)))
	}
	text("severitytext", m.GetSeverityText())
	text("partitionkey", m.GetPartitionKey())
	traceAttributes(m, text)
	text("correlationid", m.GetCorrelation().GetCorrelationId())
	text("causationid", m.GetCorrelation().GetCausationId())
	lastPairs(m.GetExtensions(), func(kv *eventv1.KeyValue) {
		if name, v, ok := extensionOf(kv); ok {
			put(name, v)
		}
	})
}

func traceAttributes(m *eventv1.Event, text func(name, s string)) {
	t := event.TraceContext{Flags: byte(m.GetTraceFlags())}
	n := copy(t.TraceID[:], m.GetTraceId()) + copy(t.SpanID[:], m.GetSpanId())
	whole := n == 24 && len(m.GetTraceId()) == 16 && len(m.GetSpanId()) == 8
	if whole && t.TraceID != [16]byte{} && t.SpanID != [8]byte{} {
		text("traceparent", t.String())
	} else {
		text("traceid", hexText(m.GetTraceId()))
		text("spanid", hexText(m.GetSpanId()))
	}
	text("tracestate", m.GetTraceState())
	text("parentspanid", hexText(m.GetParentSpanId()))
}

func hexText(b []byte) string { return hex.EncodeToString(b) }

// extensionOf returns an extension that CloudEvents can carry; ok is false for one whose
// name or type it does not have, which is written as an attribute.
func extensionOf(kv *eventv1.KeyValue) (name string, v event.Value, ok bool) {
	switch x := kv.GetValue().(type) {
	case *eventv1.KeyValue_StringValue:
		v = event.StringValue(x.StringValue)
	case *eventv1.KeyValue_IntValue:
		v = event.IntValue(x.IntValue)
	case *eventv1.KeyValue_BoolValue:
		v = event.BoolValue(x.BoolValue)
	}
	name = kv.GetKey()
	return name, v, freeName(name) && extensionValue(v)
}

func appendValue(b []byte, v event.Value) []byte {
	switch n, _ := v.Int(); v.Kind() {
	case event.Int:
		return strconv.AppendInt(b, n, 10)
	case event.Bool:
		return strconv.AppendBool(b, v.Bool())
	}
	return jsontext.AppendQuoted(b, v.Str())
}

// payload writes the payload as data or data_base64.
func (w *objectWriter) payload(m *eventv1.Event) {
	data := m.GetData()
	switch {
	case len(data) == 0:
	case isJSON(m.GetDataContentType()) && isJSONText(data):
		w.key("data")
		w.b = append(w.b, oneLine(data)...)
	case !isJSON(m.GetDataContentType()) && utf8.Valid(data):
		w.key("data")
		w.b = jsontext.AppendQuoted(w.b, wire.String(data))
	default:
		w.key("data_base64")
		w.b = append(base64.StdEncoding.AppendEncode(append(w.b, '"'), data), '"')
	}
}

// hasTyped tells whether the event has members that travel in data.
func hasTyped(m *eventv1.Event) bool {
	if m.GetBody() != "" || m.GetCount() != 0 || m.GetFingerprint() != "" || len(m.GetResource()) > 0 || len(m.GetAttributes()) > 0 {
		return true
	}
	if m.GetEntity() != nil || len(m.GetRelated()) > 0 || m.GetSignal() != nil || m.GetSemantic() != nil || m.GetImpact() != nil {
		return true
	}
	c := m.GetCorrelation()
	return len(m.GetEnrichment()) > 0 || len(m.GetSpanLinks()) > 0 || c.GetIncidentId() != "" || len(c.GetLinks()) > 0 ||
		len(strayExtensions(m)) > 0
}

// strayExtensions are the extensions that CloudEvents cannot carry.
func strayExtensions(m *eventv1.Event) (stray []*eventv1.KeyValue) {
	for _, kv := range m.GetExtensions() {
		if _, _, ok := extensionOf(kv); !ok {
			stray = append(stray, kv)
		}
	}
	return stray
}

// typedMembers returns data as an object of typed members; nil when there are none.
func typedMembers(m *eventv1.Event) []byte {
	if !hasTyped(m) {
		return nil
	}
	w := openObject(make([]byte, 0, 1024))
	r := m.ProtoReflect()
	for _, f := range eventSpec.fields {
		if isTyped(f) {
			w.typed(m, f, r)
		}
	}
	if len(m.GetData()) > 0 || m.GetDataContentType() != "" || m.GetDataSchema() != "" {
		w.key("payload")
		p := openObject(w.b)
		p.text("datacontenttype", m.GetDataContentType())
		p.text("dataschema", m.GetDataSchema())
		p.payload(m)
		w.b = p.close()
	}
	return w.close()
}

// typed writes one typed member if it is set.
func (w *objectWriter) typed(m *eventv1.Event, f *fieldSpec, r protoreflect.Message) {
	switch f.num {
	case wire.FieldResource:
		w.pairs(f.name, m.GetResource())
		return
	case wire.FieldAttributes:
		w.pairs(f.name, append(m.GetAttributes()[:len(m.GetAttributes()):len(m.GetAttributes())], strayExtensions(m)...))
		return
	case wire.FieldExtensions:
		return
	case wire.FieldCorrelation: // its two ids are extensions
		c := m.GetCorrelation()
		if c.GetIncidentId() != "" || len(c.GetLinks()) > 0 {
			w.key(f.name)
			inner := &eventv1.Correlation{IncidentId: c.GetIncidentId(), Links: c.GetLinks()}
			w.b = appendMessage(w.b, f.of, inner.ProtoReflect())
		}
		return
	}
	if r.Has(f.desc) {
		w.key(f.name)
		w.b = appendField(w.b, f, r.Get(f.desc))
	}
}

func (w *objectWriter) pairs(name string, pairs []*eventv1.KeyValue) {
	if len(pairs) > 0 {
		w.key(name)
		w.b = appendPairs(w.b, pairs)
	}
}

func isJSONText(data []byte) bool {
	s := jsontext.Scanner{Src: data, MaxDepth: 10_000}
	return s.Only() == nil
}
