package enrich

import (
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// What a look-up found is encoded here by hand: proto.Marshal would need a message of many
// small objects for each, ten times the work. The goldens decode it with the generated code.

// Field numbers of millrace.event.v1.Event.
const (
	fieldRelated    = 17
	fieldResource   = 21
	fieldSemantic   = 40
	fieldImpact     = 41
	fieldEnrichment = 43
)

// textField is a string field of a nested message.
type textField struct {
	num   protowire.Number
	value string
}

// appendTexts appends field num, a message of string fields; empty ones are left out.
func appendTexts(b []byte, num protowire.Number, fields ...textField) []byte {
	size := 0
	for i := range fields {
		if fields[i].value = valid(fields[i].value); fields[i].value != "" {
			size += protowire.SizeTag(fields[i].num) + protowire.SizeBytes(len(fields[i].value))
		}
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	for _, f := range fields {
		b = appendText(b, f.num, f.value)
	}
	return b
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendFixed(b []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), n)
}

func appendAttribute(b []byte, key, value string) []byte {
	return appendTexts(b, fieldResource, textField{1, key}, textField{2, value})
}

func appendReference(b []byte, r *event.EntityRef) []byte {
	return appendTexts(b, fieldRelated, textField{1, r.Kind}, textField{2, r.Namespace}, textField{3, r.Name},
		textField{4, r.UID}, textField{5, r.APIVersion}, textField{6, r.Cluster}, textField{7, r.Role})
}

func appendEnrichment(b []byte, by string, status Status, at int64) []byte {
	var buffer [64]byte
	inner := appendText(buffer[:0], 1, by)
	inner = appendText(inner, 2, string(status))
	inner = appendFixed(inner, 3, uint64(at))
	return protowire.AppendBytes(protowire.AppendTag(b, fieldEnrichment, protowire.BytesType), inner)
}

func appendSemantic(b []byte, r *rule) []byte {
	inner := appendText(nil, 1, valid(r.class))
	inner = appendText(inner, 2, r.category)
	inner = appendText(inner, 3, valid(r.id))
	inner = appendFixed(inner, 4, math.Float64bits(r.confidence()))
	return protowire.AppendBytes(protowire.AppendTag(b, fieldSemantic, protowire.BytesType), inner)
}

func appendImpact(b []byte, impact *eventv1.Impact) []byte {
	inner := appendFixed(make([]byte, 0, 256), 1, math.Float64bits(impact.Score))
	inner = appendText(inner, 2, impact.Criticality)
	for _, service := range impact.AffectedServices {
		inner = appendText(inner, 3, service)
	}
	if impact.AffectedPods > 0 {
		inner = protowire.AppendVarint(protowire.AppendTag(inner, 4, protowire.VarintType), uint64(impact.AffectedPods))
	}
	for _, reason := range impact.Reasons {
		inner = appendText(inner, 5, reason)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, fieldImpact, protowire.BytesType), inner)
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// prepare makes encoded fields ready to be appended to many events.
func prepare(encoded []byte) *event.Prepared {
	p, err := event.Prepare(encoded)
	if err != nil {
		panic("enrich: " + err.Error()) // the functions above made the bytes
	}
	return p
}

func prepareEnrichment(by string, status Status, at int64) *event.Prepared {
	return prepare(appendEnrichment(nil, by, status, at))
}
