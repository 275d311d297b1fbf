package event

import "google.golang.org/protobuf/encoding/protowire"

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
func (e *Event) SeverityText() string { return e.scalarText(fieldSeverityText) }

// TraceState is the W3C tracestate; empty = unset.
func (e *Event) TraceState() string { return e.scalarText(fieldTraceState) }

// TraceFlags are the W3C trace flags; bit 0 = sampled.
func (e *Event) TraceFlags() uint32 { return e.traceFlags }

// ParentSpanID is the parent of the span, 8 bytes or nil.
func (e *Event) ParentSpanID() []byte { return e.parentSpan }

// Fingerprint is equal for events that say the same; empty = unset.
func (e *Event) Fingerprint() string { return e.scalarText(fieldFingerprint) }

// Data is the payload of a CloudEvent that has no typed fields, as received.
func (e *Event) Data() []byte { return bytesOf(e.scalarText(fieldData)) }

// DataContentType is the media type of Data; empty = JSON.
func (e *Event) DataContentType() string { return e.scalarText(fieldDataContentType) }

// DataSchema names the schema of Data; empty = unset.
func (e *Event) DataSchema() string { return e.scalarText(fieldDataSchema) }

// RelatedRefs calls yield with every related entity until it says false.
func (e *Event) RelatedRefs(yield func(EntityRef) bool) {
	e.each(fieldRelated, func(b []byte) bool {
		var r EntityRef
		return !readEntity(&r, b, false) || yield(r) // a malformed one is passed over
	})
}

// Semantic returns what happened; ok is false when nobody said.
func (e *Event) Semantic() (s Semantic, ok bool) {
	e.each(fieldSemantic, func(b []byte) bool {
		ok = true
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				s.Class = f.text()
			case f.is(2, wireBytes):
				s.Category = f.text()
			case f.is(3, wireBytes):
				s.RuleID = f.text()
			case f.is(4, wireFixed64):
				s.Confidence = f.float()
			}
		}
		return true
	})
	return s, ok
}

// Impact returns how much is affected; ok is false when nobody said.
func (e *Event) Impact() (i Impact, ok bool) {
	e.each(fieldImpact, func(b []byte) bool {
		ok = true
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireFixed64):
				i.Score = f.float()
			case f.is(2, wireBytes):
				i.Criticality = f.text()
			case f.is(3, wireBytes):
				i.AffectedServices = append(i.AffectedServices, f.text())
			case f.is(4, wireVarint):
				i.AffectedPods = uint32(f.n)
			case f.is(5, wireBytes):
				i.Reasons = append(i.Reasons, f.text())
			}
		}
		return true
	})
	return i, ok
}

// Correlation returns what the event belongs to; ok is false when nobody said.
func (e *Event) Correlation() (c Correlation, ok bool) {
	e.each(fieldCorrelation, func(b []byte) bool {
		ok = true
		f := fields{rest: b}
		for f.next() {
			if f.wire != wireBytes {
				continue
			}
			switch f.num {
			case 1:
				c.CorrelationID = f.text()
			case 2:
				c.CausationID = f.text()
			case 3:
				c.IncidentID = f.text()
			case 4:
				c.Links = append(c.Links, readLink(f.v))
			}
		}
		return true
	})
	return c, ok
}

func readLink(b []byte) (l Link) {
	f := fields{rest: b}
	for f.next() {
		switch {
		case f.is(1, wireBytes):
			l.EventID = f.text()
		case f.is(2, wireBytes):
			l.Relation = f.text()
		case f.is(3, wireBytes):
			l.RuleID = f.text()
		case f.is(4, wireVarint):
			l.DeltaNs = zigzag(f.n)
		}
	}
	return l
}

// Enrichments calls yield with what every look-up found until it says false.
func (e *Event) Enrichments(yield func(Enrichment) bool) {
	e.each(fieldEnrichment, func(b []byte) bool {
		var r Enrichment
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				r.By = f.text()
			case f.is(2, wireBytes):
				r.Status = f.text()
			case f.is(3, wireFixed64):
				r.At = f.nanos()
			}
		}
		return yield(r)
	})
}

// SpanLinks calls yield with every span link until it says false.
func (e *Event) SpanLinks(yield func(SpanLink) bool) {
	e.each(fieldSpanLinks, func(b []byte) bool {
		var l SpanLink
		f := fields{rest: b}
		for f.next() {
			switch {
			case f.is(1, wireBytes):
				l.TraceID = f.v
			case f.is(2, wireBytes):
				l.SpanID = f.v
			}
		}
		return yield(l)
	})
}

func zigzag(n uint64) int64 { return protowire.DecodeZigZag(n) }
