package event

import (
	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// What a stage adds is appended to the patch, and protobuf merges it with what came. The
// bytes are made in a small buffer on the stack and copied into the arena of the batch.

type scratch [384]byte

// headFields are the fields that stand in the head of an event.
const headFields = 1<<(lastHeadField+1) - 1

// AppendEncoded appends encoded fields of millrace.event.v1.Event, made once and used for
// many events. They must be well formed, as proto.Marshal makes them.
func (e *Event) AppendEncoded(encoded []byte) {
	e.patchWith(encoded)
	before := e.present
	e.present = 0
	first, head := len(e.patch)-len(encoded), e.head
	_ = e.read(e.patch[first:], true) // the view shows what was appended; malformed bytes are the caller's bug
	added := e.present
	e.present |= before
	e.own |= added
	if e.head = head; added&headFields != 0 || added&signalFields != 0 {
		e.head = -1
	}
	for _, p := range e.shared[:e.sharing] {
		if p.present&added != 0 { // what is appended now must stay behind it
			e.unshare()
			break
		}
	}
}

func (e *Event) patchWith(encoded []byte) {
	if e.early {
		e.early, e.head = false, -1
	}
	if e.arena == nil {
		e.patch = append(e.patch, encoded...)
		return
	}
	e.patch = e.arena.Append(e.patch, encoded)
}

// AddRelated names another thing that the event concerns.
func (e *Event) AddRelated(r EntityRef) {
	var s scratch
	e.AppendEncoded(appendRef(s[:0], wire.FieldRelated, &r))
}

// SetEntity replaces what the event is about.
func (e *Event) SetEntity(r EntityRef) {
	var s scratch
	e.replace(wire.FieldEntity)
	e.Entity = EntityRef{}
	e.AppendEncoded(appendRef(s[:0], wire.FieldEntity, &r))
}

func appendRef(b []byte, num protowire.Number, r *EntityRef) []byte {
	b, start := wire.Open(b, num)
	b = wire.AppendText(b, 1, r.Kind)
	b = wire.AppendText(b, 2, r.Namespace)
	b = wire.AppendText(b, 3, r.Name)
	b = wire.AppendText(b, 4, r.UID)
	b = wire.AppendText(b, 5, r.APIVersion)
	b = wire.AppendText(b, 6, r.Cluster)
	b = wire.AppendText(b, 7, r.Role)
	return wire.Close(b, start)
}

// AddResource sets a resource attribute.
func (e *Event) AddResource(key, value string) {
	var s scratch
	e.AppendEncoded(AppendKeyValue(s[:0], wire.FieldResource, key, StringValue(value)))
}

// AddAttribute sets an attribute.
func (e *Event) AddAttribute(key string, v Value) {
	var s scratch
	e.AppendEncoded(AppendKeyValue(s[:0], wire.FieldAttributes, key, v))
}

// SetSemantic replaces what happened.
func (e *Event) SetSemantic(v Semantic) {
	var s scratch
	e.replace(wire.FieldSemantic)
	b, start := wire.Open(s[:0], wire.FieldSemantic)
	b = wire.AppendText(b, 1, v.Class)
	b = wire.AppendText(b, 2, v.Category)
	b = wire.AppendText(b, 3, v.RuleID)
	b = wire.AppendFloat(b, 4, v.Confidence)
	e.AppendEncoded(wire.Close(b, start))
}

// SetImpact replaces how much is affected.
func (e *Event) SetImpact(v Impact) {
	var s scratch
	e.replace(wire.FieldImpact)
	b, start := wire.Open(s[:0], wire.FieldImpact)
	b = wire.AppendFloat(b, 1, v.Score)
	b = wire.AppendText(b, 2, v.Criticality)
	for _, name := range v.AffectedServices {
		b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), name)
	}
	b = wire.AppendUint(b, 4, uint64(v.AffectedPods))
	for _, reason := range v.Reasons {
		b = protowire.AppendString(protowire.AppendTag(b, 5, protowire.BytesType), reason)
	}
	e.AppendEncoded(wire.Close(b, start))
}

// SetCorrelation replaces what the event belongs to, with its links.
func (e *Event) SetCorrelation(v Correlation) {
	var s scratch
	e.replace(wire.FieldCorrelation)
	b, start := wire.Open(s[:0], wire.FieldCorrelation)
	b = wire.AppendText(b, 1, v.CorrelationID)
	b = wire.AppendText(b, 2, v.CausationID)
	b = wire.AppendText(b, 3, v.IncidentID)
	for i := range v.Links {
		b = appendLink(b, &v.Links[i])
	}
	e.AppendEncoded(wire.Close(b, start))
}

// AddLink adds one link to another event.
func (e *Event) AddLink(l Link) {
	var s scratch
	b, start := wire.Open(s[:0], wire.FieldCorrelation)
	e.AppendEncoded(wire.Close(appendLink(b, &l), start))
}

func appendLink(b []byte, l *Link) []byte {
	b, start := wire.Open(b, 4)
	b = wire.AppendText(b, 1, l.EventID)
	b = wire.AppendText(b, 2, l.Relation)
	b = wire.AppendText(b, 3, l.RuleID)
	b = wire.AppendUint(b, 4, protowire.EncodeZigZag(l.DeltaNs))
	return wire.Close(b, start)
}

// AddEnrichment notes what a look-up found, at a time in Unix nanoseconds.
func (e *Event) AddEnrichment(by, status string, at int64) {
	var s scratch
	b, start := wire.Open(s[:0], wire.FieldEnrichment)
	b = wire.AppendText(b, 1, by)
	b = wire.AppendText(b, 2, status)
	b = wire.AppendFixed(b, 3, uint64(at))
	e.AppendEncoded(wire.Close(b, start))
}

// AddSpanLink names a span of another trace.
func (e *Event) AddSpanLink(l SpanLink) {
	var s scratch
	b, start := wire.Open(s[:0], wire.FieldSpanLinks)
	b = wire.AppendBytes(b, 1, l.TraceID)
	b = wire.AppendBytes(b, 2, l.SpanID)
	e.AppendEncoded(wire.Close(b, start))
}

// SetSeverity sets the severity number (1..24) and, unless it is empty, its text.
func (e *Event) SetSeverity(number int32, text string) {
	var s scratch
	b := protowire.AppendVarint(protowire.AppendTag(s[:0], wire.FieldSeverity, protowire.VarintType), uint64(number))
	e.AppendEncoded(wire.AppendText(b, wire.FieldSeverityText, text))
}

// SetTrace sets the trace context; a parent span is left as it is.
func (e *Event) SetTrace(t TraceContext) {
	var s scratch
	b := wire.AppendBytes(s[:0], wire.FieldTraceID, t.TraceID[:])
	b = wire.AppendBytes(b, wire.FieldSpanID, t.SpanID[:])
	b = protowire.AppendVarint(protowire.AppendTag(b, wire.FieldTraceFlags, protowire.VarintType), uint64(t.Flags))
	e.AppendEncoded(b)
}

// SetTime sets when it happened, in Unix nanoseconds.
func (e *Event) SetTime(at int64) { e.setFixed(wire.FieldTime, at) }

// SetIngestTime sets when the pipeline first stored the event, in Unix nanoseconds.
func (e *Event) SetIngestTime(at int64) { e.setFixed(wire.FieldIngestTime, at) }

func (e *Event) setFixed(num protowire.Number, at int64) {
	var s scratch
	b := protowire.AppendTag(s[:0], num, protowire.Fixed64Type)
	e.AppendEncoded(protowire.AppendFixed64(b, uint64(at)))
}

// SetPartitionKey sets what the partition is computed from. The one that it had is gone from the encoded event.
func (e *Event) SetPartitionKey(key string) {
	var s scratch
	e.replace(wire.FieldPartitionKey)
	e.AppendEncoded(AppendPartitionKey(s[:0], key))
}

// replace removes every occurrence of field num, so that what is appended next stands
// alone. An event that has none is left as it is, which is the rule; otherwise the rest is
// copied.
func (e *Event) replace(num uint32) {
	if !e.may(num) {
		return
	}
	e.drop(num, func([]byte) bool { return true })
	e.present &^= 1 << num
	e.own &^= 1 << num
}

// keep copies b without the occurrences of field num that drop names.
func (e *Event) keep(b []byte, num uint32, drop func([]byte) bool) []byte {
	kept := e.room(len(b))
	f := wire.Fields{Rest: b}
	for len(f.Rest) > 0 {
		from := f.Rest
		if !f.Next() {
			break
		}
		if f.Num != num || f.Wire == wire.BytesType && !drop(f.V) {
			kept = append(kept, from[:len(from)-len(f.Rest)]...)
		}
	}
	return kept
}
