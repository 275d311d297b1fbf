package event

import (
	"encoding/hex"
	"errors"
	"fmt"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// TraceContext is the part of a trace that W3C traceparent carries.
type TraceContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte // bit 0 = sampled
}

var errTraceparent = errors.New("want version-traceid-spanid-flags in lower-case hex with ids that are not zero")

// ParseTraceparent reads a traceparent header as W3C Trace Context (level 2) defines it:
// lower-case hex, ids that are not zero, version ff refused, and later versions read as
// far as they are known.
func ParseTraceparent(s string) (TraceContext, error) {
	var t TraceContext
	fail := func() (TraceContext, error) {
		return TraceContext{}, fmt.Errorf("traceparent %q: %w", wire.Clip(s), errTraceparent)
	}
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return fail()
	}
	var version, flags [1]byte
	ok := unhex(version[:], s[:2]) && unhex(t.TraceID[:], s[3:35]) && unhex(t.SpanID[:], s[36:52]) && unhex(flags[:], s[53:55])
	switch {
	case !ok, version[0] == 0xff, t.TraceID == [16]byte{}, t.SpanID == [8]byte{}:
		return fail()
	case version[0] == 0 && len(s) != 55, len(s) > 55 && s[55] != '-':
		return fail()
	}
	t.Flags = flags[0]
	return t, nil
}

// AppendTraceparent appends the header value of version 00.
func AppendTraceparent(dst, traceID, spanID []byte, flags byte) []byte {
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, traceID)
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, spanID)
	dst = append(dst, '-')
	return hex.AppendEncode(dst, []byte{flags})
}

// String returns the header value.
func (t TraceContext) String() string {
	return string(AppendTraceparent(nil, t.TraceID[:], t.SpanID[:], t.Flags))
}

// Trace returns the trace context of the event; ok is false when it has none or one with
// zero ids.
func (e *Event) Trace() (t TraceContext, ok bool) {
	if len(e.TraceID) != 16 || len(e.SpanID) != 8 {
		return t, false
	}
	t = TraceContext{TraceID: [16]byte(e.TraceID), SpanID: [8]byte(e.SpanID), Flags: byte(e.TraceFlags())}
	return t, t.TraceID != [16]byte{} && t.SpanID != [8]byte{}
}

// unhex decodes lower-case hex that fills dst.
func unhex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := wire.Nibble(s[2*i]), wire.Nibble(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}
