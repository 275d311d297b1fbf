package cloudevent

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// The JSON names of typed members follow from api/event/v1: lower camel case as protojson
// has it, and a field x_unix_nano is x, a time in RFC 3339. Snake case is read too.

// fieldKind says how a field is written in JSON.
type fieldKind uint8

const (
	kindText    fieldKind = iota
	kindInt32             // varint
	kindUint32            // varint
	kindUint64            // varint
	kindSint64            // zigzag varint
	kindDouble            // fixed64
	kindTime              // fixed64, RFC 3339
	kindHex               // bytes, lower-case hex
	kindMessage           // an object
	kindPairs             // repeated KeyValue: an object of scalars
	kindData              // the payload of a CloudEvent
)

type fieldSpec struct {
	name string // in JSON
	num  protowire.Number
	kind fieldKind
	list bool
	// opens is the byte that a value in JSON begins with; 0 = the value is a scalar.
	opens byte
	// measured: 0 is a measurement. A value that cannot be read is NaN then, not 0.
	measured bool
	of       *messageSpec // of kindMessage
	desc     protoreflect.FieldDescriptor
}

type messageSpec struct {
	name   string
	fields []*fieldSpec // in the order of their numbers
	byName map[string]*fieldSpec
}

// eventSpec describes millrace.event.v1.Event. It is made once and never changes.
var eventSpec = describe((&eventv1.Event{}).ProtoReflect().Descriptor(), map[protoreflect.FullName]*messageSpec{})

func describe(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*messageSpec) *messageSpec {
	if spec := known[d.FullName()]; spec != nil {
		return spec
	}
	spec := &messageSpec{name: string(d.Name()), byName: map[string]*fieldSpec{}}
	known[d.FullName()] = spec
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		snake, isTime := strings.CutSuffix(string(fd.Name()), "_unix_nano")
		f := &fieldSpec{name: camel(snake), num: fd.Number(), list: fd.IsList(), desc: fd, kind: kindOf(fd, isTime)}
		f.opens, f.measured = f.opening(), fd.FullName() == "millrace.event.v1.Metric.value"
		if f.kind == kindMessage {
			f.of = describe(fd.Message(), known)
		}
		spec.fields = append(spec.fields, f)
		spec.byName[f.name], spec.byName[snake] = f, f
	}
	return spec
}

func (f *fieldSpec) opening() byte {
	switch {
	case f.kind == kindPairs:
		return '{'
	case f.list:
		return '['
	case f.kind == kindMessage:
		return '{'
	}
	return 0
}

func kindOf(fd protoreflect.FieldDescriptor, isTime bool) fieldKind {
	switch fd.Kind() {
	case protoreflect.Int32Kind:
		return kindInt32
	case protoreflect.Uint32Kind:
		return kindUint32
	case protoreflect.Uint64Kind:
		return kindUint64
	case protoreflect.Sint64Kind:
		return kindSint64
	case protoreflect.DoubleKind:
		return kindDouble
	case protoreflect.BytesKind:
		if fd.Name() == "data" {
			return kindData
		}
		return kindHex
	case protoreflect.MessageKind:
		if fd.Message().Name() == "KeyValue" {
			return kindPairs
		}
		return kindMessage
	case protoreflect.Fixed64Kind:
		if isTime {
			return kindTime
		}
	case protoreflect.StringKind:
		return kindText
	}
	panic("event: no JSON form for field " + string(fd.FullName())) // a change of event.proto: found by every test
}

func camel(snake string) string {
	words := strings.Split(snake, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// role says what a top-level member of a JSON event is.
type role uint8

const (
	roleUnknown   role = iota
	roleSpec           // specversion
	roleAttribute      // a scalar that CloudEvents has at top level: id, time, severitynumber, ...
	roleTyped          // a typed member, at top level or in data: entity, metric, ...
	roleTraceparent
	roleCorrelation // correlationid, causationid
	roleSeverity    // severity: text or number
	roleData
	roleData64
	rolePayload // only inside data: the payload that came with typed members
)

// memberSpec is what is known about the name of a top-level member.
type memberSpec struct {
	role  role
	bit   uint8 // names of one thing share a bit
	alias bool  // another name that counts only when the thing itself is not there
	opens byte  // the byte that a value begins with; 0 = any
	field *fieldSpec
	sub   protowire.Number // of roleCorrelation: the field of Correlation
}

// members are the known names of top-level members. The table is made once and never changes.
var members = memberTable()

func memberTable() map[string]memberSpec {
	t := map[string]memberSpec{}
	bit := uint8(0)
	add := func(m memberSpec, name string, aliases ...string) {
		m.bit = bit
		bit++
		t[name] = m
		m.alias = true
		for _, a := range aliases {
			t[a] = m
		}
	}
	attribute := func(field, name string, aliases ...string) {
		add(memberSpec{role: roleAttribute, field: eventSpec.byName[field]}, name, aliases...)
	}
	add(memberSpec{role: roleSpec}, "specversion")
	attribute("id", "id")
	attribute("source", "source")
	attribute("type", "type")
	attribute("subject", "subject")
	attribute("time", "time", "timestamp")
	attribute("observedTime", "observedtime", "observedTime")
	attribute("ingestTime", "ingesttime", "ingestTime")
	attribute("severityNumber", "severitynumber", "severityNumber")
	attribute("severityText", "severitytext", "severityText")
	attribute("partitionKey", "partitionkey", "partitionKey")
	attribute("traceId", "traceid", "traceId", "trace_id")
	attribute("spanId", "spanid", "spanId", "span_id")
	attribute("parentSpanId", "parentspanid", "parentSpanId", "parent_span_id")
	attribute("traceState", "tracestate")
	attribute("dataContentType", "datacontenttype")
	attribute("dataSchema", "dataschema")
	add(memberSpec{role: roleTraceparent}, "traceparent")
	add(memberSpec{role: roleSeverity}, "severity")
	add(memberSpec{role: roleCorrelation, sub: 1}, "correlationid")
	add(memberSpec{role: roleCorrelation, sub: 2}, "causationid")
	add(memberSpec{role: roleData}, "data")
	add(memberSpec{role: roleData64}, "data_base64")
	add(memberSpec{role: rolePayload}, "payload")
	for _, f := range eventSpec.fields {
		if !isTyped(f) {
			continue
		}
		var aliases []string
		switch f.name {
		case "body":
			aliases = []string{"message"}
		case "spanLinks":
			aliases = []string{"links"}
		case "kubernetesEvent":
			aliases = []string{"kubernetes_event"}
		}
		add(memberSpec{role: roleTyped, field: f, opens: f.opens}, f.name, aliases...)
	}
	if bit > 64 {
		panic("event: more known members than bits")
	}
	return t
}

// isTyped tells whether a field of the event is written in data, not as an attribute.
func isTyped(f *fieldSpec) bool {
	switch f.num {
	case wire.FieldBody, wire.FieldCount, wire.FieldFingerprint, wire.FieldResource, wire.FieldAttributes:
		return true
	}
	return f.kind == kindMessage
}
