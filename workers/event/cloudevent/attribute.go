package cloudevent

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/internal/wire"
)

// attribute encodes a member that is a CloudEvents attribute or extension, from JSON or
// from a header.
func (r *Reader) attribute(name string, spec memberSpec, v event.Value, known uint64) error {
	switch spec.role {
	case roleSpec:
		if version := v.Text(); version != "1.0" && version != "1" { // 1.0 as a number
			return fmt.Errorf("CloudEvents %q is not supported, only 1.0", wire.Clip(version))
		}
	case roleAttribute:
		r.field(name, spec, v, known)
	case roleTraceparent:
		r.traceparent(name, v)
	case roleCorrelation:
		r.correlation(name, spec, v)
	case roleSeverity:
		r.severity(name, v, known)
	default:
		r.extension(name, v)
	}
	return nil
}

func (r *Reader) correlation(name string, spec memberSpec, v event.Value) {
	if v.IsJSON() { // an object is no id
		r.extension(name, v)
		return
	}
	var start int
	r.out, start = wire.Open(r.out, wire.FieldCorrelation)
	r.out = wire.AppendText(r.out, spec.sub, v.Text())
	r.out = wire.Close(r.out, start)
}

// traceparent encodes a trace context. W3C: an invalid one starts no trace; it is kept for
// a person.
func (r *Reader) traceparent(name string, v event.Value) {
	trace, err := event.ParseTraceparent(v.Str())
	if err != nil {
		r.extension(name, v)
		return
	}
	r.out = wire.AppendBytes(r.out, wire.FieldTraceID, trace.TraceID[:])
	r.out = wire.AppendBytes(r.out, wire.FieldSpanID, trace.SpanID[:])
	r.out = wire.AppendUint(r.out, wire.FieldTraceFlags, uint64(trace.Flags))
}

// field encodes an attribute that has a field of its own. What does not fit the field is kept,
// but not as this attribute.
func (r *Reader) field(name string, spec memberSpec, v event.Value, known uint64) {
	fits := true
	switch spec.field.num {
	case wire.FieldTraceID:
		fits = len(v.Str()) == 32
	case wire.FieldSpanID, wire.FieldParentSpanID:
		fits = len(v.Str()) == 16
	case wire.FieldSeverity:
		n, ok := whole(v)
		fits = ok && n >= 0 && n <= event.SeverityLast
		r.unset = r.unset || !fits || n == 0
	case wire.FieldSeverityText:
		fits = !v.IsJSON()
		if fits {
			r.severityOf(v.Text(), known)
		}
	}
	if fits {
		r.out, fits = appendScalar(r.out, spec.field, v)
	}
	if !fits {
		r.extension(name, v)
	}
}

// severity takes member severity, a number or a text, where the exact members are absent.
func (r *Reader) severity(name string, v event.Value, known uint64) {
	n, isNumber := whole(v)
	switch {
	case isNumber && n >= 1 && n <= event.SeverityLast && known&bitSeverityNumber == 0:
		r.out = wire.AppendUint(r.out, wire.FieldSeverity, uint64(n))
	case !isNumber && !v.IsJSON() && known&bitSeverityText == 0:
		r.out = wire.AppendText(r.out, wire.FieldSeverityText, v.Text())
		r.severityOf(v.Text(), known)
	default:
		r.extension(name, v)
	}
}

// severityOf adds the number that a severity text means, unless there is one.
func (r *Reader) severityOf(text string, known uint64) {
	if known&bitSeverityNumber == 0 {
		r.out = wire.AppendUint(r.out, wire.FieldSeverity, uint64(event.SeverityNumber(text)))
	}
}

// extension keeps a member that has no field: as an extension if CloudEvents allows its
// name and type, as an attribute otherwise.
func (r *Reader) extension(name string, v event.Value) {
	num := protowire.Number(wire.FieldAttributes)
	if freeName(name) && extensionValue(v) {
		num = wire.FieldExtensions
	}
	r.out = event.AppendKeyValue(r.out, num, name, v)
}

// freeName tells whether an extension can have this name: CloudEvents allows it (lower-case
// ASCII letters and digits), and nothing else is read from it.
func freeName(name string) bool {
	if memberOf(name).role != roleUnknown {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// extensionValue tells whether CloudEvents has the type of v: text, bool and 32-bit integers.
func extensionValue(v event.Value) bool {
	n, _ := v.Int()
	switch v.Kind() {
	case event.Int:
		return n == int64(int32(n))
	case event.String:
		return !v.IsJSON()
	}
	return v.Kind() == event.Bool
}
