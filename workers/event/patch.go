package event

import (
	"google.golang.org/protobuf/encoding/protowire"
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
	e.patch = e.arena.append(e.patch, encoded)
}

// AddRelated names another thing that the event concerns.
func (e *Event) AddRelated(r EntityRef) {
	var s scratch
	e.AppendEncoded(appendRef(s[:0], fieldRelated, &r))
}

// SetEntity replaces what the event is about.
func (e *Event) SetEntity(r EntityRef) {
	var s scratch
	e.replace(fieldEntity)
	e.Entity = EntityRef{}
	e.AppendEncoded(appendRef(s[:0], fieldEntity, &r))
}

func appendRef(b []byte, num protowire.Number, r *EntityRef) []byte {
	b, start := open(b, num)
	b = appendText(b, 1, r.Kind)
	b = appendText(b, 2, r.Namespace)
	b = appendText(b, 3, r.Name)
	b = appendText(b, 4, r.UID)
	b = appendText(b, 5, r.APIVersion)
	b = appendText(b, 6, r.Cluster)
	b = appendText(b, 7, r.Role)
	return shut(b, start)
}

// AddResource sets a resource attribute.
func (e *Event) AddResource(key, value string) {
	var s scratch
	e.AppendEncoded(appendKeyValue(s[:0], fieldResource, key, StringValue(value)))
}

// AddAttribute sets an attribute.
func (e *Event) AddAttribute(key string, v Value) {
	var s scratch
	e.AppendEncoded(appendKeyValue(s[:0], fieldAttributes, key, v))
}

// SetSemantic replaces what happened.
func (e *Event) SetSemantic(v Semantic) {
	var s scratch
	e.replace(fieldSemantic)
	b, start := open(s[:0], fieldSemantic)
	b = appendText(b, 1, v.Class)
	b = appendText(b, 2, v.Category)
	b = appendText(b, 3, v.RuleID)
	b = appendFloat(b, 4, v.Confidence)
	e.AppendEncoded(shut(b, start))
}

// SetImpact replaces how much is affected.
func (e *Event) SetImpact(v Impact) {
	var s scratch
	e.replace(fieldImpact)
	b, start := open(s[:0], fieldImpact)
	b = appendFloat(b, 1, v.Score)
	b = appendText(b, 2, v.Criticality)
	for _, name := range v.AffectedServices {
		b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), name)
	}
	b = appendUint(b, 4, uint64(v.AffectedPods))
	for _, reason := range v.Reasons {
		b = protowire.AppendString(protowire.AppendTag(b, 5, protowire.BytesType), reason)
	}
	e.AppendEncoded(shut(b, start))
}

// SetCorrelation replaces what the event belongs to, with its links.
func (e *Event) SetCorrelation(v Correlation) {
	var s scratch
	e.replace(fieldCorrelation)
	b, start := open(s[:0], fieldCorrelation)
	b = appendText(b, 1, v.CorrelationID)
	b = appendText(b, 2, v.CausationID)
	b = appendText(b, 3, v.IncidentID)
	for i := range v.Links {
		b = appendLink(b, &v.Links[i])
	}
	e.AppendEncoded(shut(b, start))
}

// AddLink adds one link to another event.
func (e *Event) AddLink(l Link) {
	var s scratch
	b, start := open(s[:0], fieldCorrelation)
	e.AppendEncoded(shut(appendLink(b, &l), start))
}

func appendLink(b []byte, l *Link) []byte {
	b, start := open(b, 4)
	b = appendText(b, 1, l.EventID)
	b = appendText(b, 2, l.Relation)
	b = appendText(b, 3, l.RuleID)
	b = appendUint(b, 4, protowire.EncodeZigZag(l.DeltaNs))
	return shut(b, start)
}

// AddEnrichment notes what a look-up found, at a time in Unix nanoseconds.
func (e *Event) AddEnrichment(by, status string, at int64) {
	var s scratch
	b, start := open(s[:0], fieldEnrichment)
	b = appendText(b, 1, by)
	b = appendText(b, 2, status)
	b = appendFixed(b, 3, uint64(at))
	e.AppendEncoded(shut(b, start))
}

// AddSpanLink names a span of another trace.
func (e *Event) AddSpanLink(l SpanLink) {
	var s scratch
	b, start := open(s[:0], fieldSpanLinks)
	b = appendBytes(b, 1, l.TraceID)
	b = appendBytes(b, 2, l.SpanID)
	e.AppendEncoded(shut(b, start))
}

// SetSeverity sets the severity number (1..24) and, unless it is empty, its text.
func (e *Event) SetSeverity(number int32, text string) {
	var s scratch
	b := protowire.AppendVarint(protowire.AppendTag(s[:0], fieldSeverity, protowire.VarintType), uint64(number))
	e.AppendEncoded(appendText(b, fieldSeverityText, text))
}

// SetTrace sets the trace context; a parent span is left as it is.
func (e *Event) SetTrace(t TraceContext) {
	var s scratch
	b := appendBytes(s[:0], fieldTraceID, t.TraceID[:])
	b = appendBytes(b, fieldSpanID, t.SpanID[:])
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldTraceFlags, protowire.VarintType), uint64(t.Flags))
	e.AppendEncoded(b)
}

// SetTime sets when it happened, in Unix nanoseconds.
func (e *Event) SetTime(at int64) { e.setFixed(fieldTime, at) }

// SetIngestTime sets when the pipeline first stored the event, in Unix nanoseconds.
func (e *Event) SetIngestTime(at int64) { e.setFixed(fieldIngestTime, at) }

func (e *Event) setFixed(num protowire.Number, at int64) {
	var s scratch
	b := protowire.AppendTag(s[:0], num, protowire.Fixed64Type)
	e.AppendEncoded(protowire.AppendFixed64(b, uint64(at)))
}

// SetPartitionKey sets what the partition is computed from.
func (e *Event) SetPartitionKey(key string) {
	var s scratch
	e.AppendEncoded(AppendPartitionKey(s[:0], key))
}

// replace removes every occurrence of field num, so that what is appended next stands
// alone. An event that has none is left as it is, which is the rule; otherwise the rest is
// copied.
func (e *Event) replace(num uint32) {
	if !e.may(num) {
		return
	}
	e.unshare()
	if e.lead != nil && e.lead.present&(1<<num) != 0 {
		e.unlead()
	}
	e.raw, e.patch = e.without(e.raw, num), e.without(e.patch, num)
	e.present &^= 1 << num
	e.own &^= 1 << num
	e.tail, e.head = 0, -1
}

func (e *Event) without(b []byte, num uint32) []byte {
	kept := e.room(len(b))
	f := fields{rest: b}
	for len(f.rest) > 0 {
		from := f.rest
		if !f.next() {
			break
		}
		if f.num != num {
			kept = append(kept, from[:len(from)-len(f.rest)]...)
		}
	}
	return kept
}
