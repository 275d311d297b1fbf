package event

import (
	"google.golang.org/protobuf/encoding/protowire"

	"millrace.dev/millrace/workers/event/internal/wire"
)

// Semantic says what happened, in the words of the rule table.
type Semantic struct {
	Class, Category, RuleID string
	Confidence              float64
}

// Impact says how much is affected.
type Impact struct {
	Score            float64 // 0..1
	Criticality      string  // critical, high, medium or low
	AffectedServices []string
	AffectedPods     uint32
	Reasons          []string
}

// Correlation says what the event belongs to.
type Correlation struct {
	CorrelationID, CausationID, IncidentID string
	Links                                  []Link
}

// Link says how another event bears on this one.
type Link struct {
	EventID  string
	Relation string // caused-by, same-trace, same-entity, owner, node or service
	RuleID   string
	// DeltaNs is this event's time minus the linked event's time.
	DeltaNs int64
}

// Enrichment says what a look-up found.
type Enrichment struct {
	By, Status string
	At         int64 // Unix nanoseconds
}

// SpanLink names a span of another trace.
type SpanLink struct {
	TraceID, SpanID []byte
}

// SeverityText is the severity as the source wrote it; empty = unset.
func (e *Event) SeverityText() string { return e.scalarText(wire.FieldSeverityText) }

// TraceState is the W3C tracestate; empty = unset.
func (e *Event) TraceState() string { return e.scalarText(wire.FieldTraceState) }

// TraceFlags are the W3C trace flags; bit 0 = sampled.
func (e *Event) TraceFlags() uint32 { return e.traceFlags }

// ParentSpanID is the parent of the span, 8 bytes or nil.
func (e *Event) ParentSpanID() []byte { return e.parentSpan }

// Fingerprint is equal for events that say the same; empty = unset.
func (e *Event) Fingerprint() string { return e.scalarText(wire.FieldFingerprint) }

// Data is the payload of a CloudEvent that has no typed fields, as received.
func (e *Event) Data() []byte { return wire.BytesOf(e.scalarText(wire.FieldData)) }

// DataContentType is the media type of Data; empty = JSON.
func (e *Event) DataContentType() string { return e.scalarText(wire.FieldDataContentType) }

// DataSchema names the schema of Data; empty = unset.
func (e *Event) DataSchema() string { return e.scalarText(wire.FieldDataSchema) }

// RelatedRefs calls yield with every related entity until it says false.
func (e *Event) RelatedRefs(yield func(EntityRef) bool) {
	e.each(wire.FieldRelated, func(b []byte) bool {
		var r EntityRef
		return !readEntity(&r, b, false) || yield(r) // a malformed one is passed over
	})
}

// Semantic returns what happened; ok is false when nobody said.
func (e *Event) Semantic() (s Semantic, ok bool) {
	e.each(wire.FieldSemantic, func(b []byte) bool {
		ok = true
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				s.Class = f.Text()
			case f.Is(2, wire.BytesType):
				s.Category = f.Text()
			case f.Is(3, wire.BytesType):
				s.RuleID = f.Text()
			case f.Is(4, wire.Fixed64Type):
				s.Confidence = f.Float()
			}
		}
		return true
	})
	return s, ok
}

// Impact returns how much is affected; ok is false when nobody said.
func (e *Event) Impact() (i Impact, ok bool) {
	e.each(wire.FieldImpact, func(b []byte) bool {
		ok = true
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.Fixed64Type):
				i.Score = f.Float()
			case f.Is(2, wire.BytesType):
				i.Criticality = f.Text()
			case f.Is(3, wire.BytesType):
				i.AffectedServices = append(i.AffectedServices, f.Text())
			case f.Is(4, wire.VarintType):
				i.AffectedPods = uint32(f.N)
			case f.Is(5, wire.BytesType):
				i.Reasons = append(i.Reasons, f.Text())
			}
		}
		return true
	})
	return i, ok
}

// Correlation returns what the event belongs to; ok is false when nobody said.
func (e *Event) Correlation() (c Correlation, ok bool) {
	e.each(wire.FieldCorrelation, func(b []byte) bool {
		ok = true
		f := wire.Fields{Rest: b}
		for f.Next() {
			if f.Wire != wire.BytesType {
				continue
			}
			switch f.Num {
			case 1:
				c.CorrelationID = f.Text()
			case 2:
				c.CausationID = f.Text()
			case 3:
				c.IncidentID = f.Text()
			case 4:
				c.Links = append(c.Links, readLink(f.V))
			}
		}
		return true
	})
	return c, ok
}

func readLink(b []byte) (l Link) {
	f := wire.Fields{Rest: b}
	for f.Next() {
		switch {
		case f.Is(1, wire.BytesType):
			l.EventID = f.Text()
		case f.Is(2, wire.BytesType):
			l.Relation = f.Text()
		case f.Is(3, wire.BytesType):
			l.RuleID = f.Text()
		case f.Is(4, wire.VarintType):
			l.DeltaNs = zigzag(f.N)
		}
	}
	return l
}

// Enrichments calls yield with what every look-up found until it says false.
func (e *Event) Enrichments(yield func(Enrichment) bool) {
	e.each(wire.FieldEnrichment, func(b []byte) bool {
		var r Enrichment
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				r.By = f.Text()
			case f.Is(2, wire.BytesType):
				r.Status = f.Text()
			case f.Is(3, wire.Fixed64Type):
				r.At = f.Nanos()
			}
		}
		return yield(r)
	})
}

// SpanLinks calls yield with every span link until it says false.
func (e *Event) SpanLinks(yield func(SpanLink) bool) {
	e.each(wire.FieldSpanLinks, func(b []byte) bool {
		var l SpanLink
		f := wire.Fields{Rest: b}
		for f.Next() {
			switch {
			case f.Is(1, wire.BytesType):
				l.TraceID = f.V
			case f.Is(2, wire.BytesType):
				l.SpanID = f.V
			}
		}
		return yield(l)
	})
}

func zigzag(n uint64) int64 { return protowire.DecodeZigZag(n) }
