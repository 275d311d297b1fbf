package event

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// attribute encodes a member that is a CloudEvents attribute or extension, from JSON or
// from a header.
func (t *transcoder) attribute(name string, spec memberSpec, v Value, known uint64) error {
	switch spec.role {
	case roleSpec:
		if version := v.Text(); version != "1.0" && version != "1" { // 1.0 as a number
			return fmt.Errorf("CloudEvents %q is not supported, only 1.0", clip(version))
		}
	case roleAttribute:
		t.field(name, spec, v, known)
	case roleTraceparent:
		t.traceparent(name, v)
	case roleCorrelation:
		t.correlation(name, spec, v)
	case roleSeverity:
		t.severity(name, v, known)
	default:
		t.extension(name, v)
	}
	return nil
}

func (t *transcoder) correlation(name string, spec memberSpec, v Value) {
	if v.json { // an object is no id
		t.extension(name, v)
		return
	}
	var start int
	t.out, start = open(t.out, fieldCorrelation)
	t.out = appendText(t.out, spec.sub, v.Text())
	t.out = shut(t.out, start)
}

// traceparent encodes a trace context. W3C: an invalid one starts no trace; it is kept for
// a person.
func (t *transcoder) traceparent(name string, v Value) {
	trace, err := ParseTraceparent(v.Str())
	if err != nil {
		t.extension(name, v)
		return
	}
	t.out = appendBytes(t.out, fieldTraceID, trace.TraceID[:])
	t.out = appendBytes(t.out, fieldSpanID, trace.SpanID[:])
	t.out = appendUint(t.out, fieldTraceFlags, uint64(trace.Flags))
}

// field encodes an attribute that has a field of its own. What does not fit the field is kept,
// but not as this attribute.
func (t *transcoder) field(name string, spec memberSpec, v Value, known uint64) {
	fits := true
	switch spec.field.num {
	case fieldTraceID:
		fits = len(v.Str()) == 32
	case fieldSpanID, fieldParentSpanID:
		fits = len(v.Str()) == 16
	case fieldSeverity:
		n, ok := whole(v)
		fits = ok && n >= 0 && n <= severityLast
		t.unset = t.unset || !fits || n == 0
	case fieldSeverityText:
		fits = !v.json
		if fits {
			t.severityOf(v.Text(), known)
		}
	}
	if fits {
		t.out, fits = appendScalar(t.out, spec.field, v)
	}
	if !fits {
		t.extension(name, v)
	}
}

// severity takes member severity, a number or a text, where the exact members are absent.
func (t *transcoder) severity(name string, v Value, known uint64) {
	n, isNumber := whole(v)
	switch {
	case isNumber && n >= 1 && n <= severityLast && known&bitSeverityNumber == 0:
		t.out = appendUint(t.out, fieldSeverity, uint64(n))
	case !isNumber && !v.json && known&bitSeverityText == 0:
		t.out = appendText(t.out, fieldSeverityText, v.Text())
		t.severityOf(v.Text(), known)
	default:
		t.extension(name, v)
	}
}

// severityOf adds the number that a severity text means, unless there is one.
func (t *transcoder) severityOf(text string, known uint64) {
	if known&bitSeverityNumber == 0 {
		t.out = appendUint(t.out, fieldSeverity, uint64(SeverityNumber(text)))
	}
}

// extension keeps a member that has no field: as an extension if CloudEvents allows its
// name and type, as an attribute otherwise.
func (t *transcoder) extension(name string, v Value) {
	num := protowire.Number(fieldAttributes)
	if freeName(name) && extensionValue(v) {
		num = fieldExtensions
	}
	t.out = appendKeyValue(t.out, num, name, v)
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
func extensionValue(v Value) bool {
	n, _ := v.Int()
	switch v.kind {
	case Int:
		return n == int64(int32(n))
	case String:
		return !v.json
	}
	return v.kind == Bool
}
