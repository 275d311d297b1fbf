package analyze

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// The types of the events that the stage makes.
const (
	TypeAnomaly = "millrace.anomaly"
	TypeTrend   = "millrace.trend"
	TypeInsight = "millrace.insight"
)

// The versions are part of what a result says, so that a reader can tell two algorithms apart.
const (
	anomalyAlgorithm = "level+step+range/exponential-tail/v1"
	trendAlgorithm   = "mann-kendall+theil-sen/v1"
)

// results makes events. Nothing of an input event is kept: its strings are cloned.
type results struct {
	source   string
	pipeline string // ids do not hang on the stage's name: a stage that is renamed tells nothing anew
}

// idOf is the id of what an event led to. An event without an id is known by its times, and by where it stands in the input.
func (r results) idOf(kind, series string, b *stage.Batch, e *event.Event) string {
	if e.ID != "" {
		return event.NewID(r.pipeline, kind, series, e.Source, e.ID)
	}
	return event.NewID(r.pipeline, kind, series, e.Source, strconv.FormatInt(e.Time, 10), strconv.FormatInt(b.Now.UnixNano(), 10),
		strconv.FormatUint(e.Origin.Sequence, 10), strconv.Itoa(e.Origin.Index))
}

func (r results) base(kind string, b *stage.Batch, e *event.Event, m event.Metric, l labels) *eventv1.Event {
	entity, related := refs(e)
	series := seriesName(&e.Entity, e.Source, m.Name) + l.text()
	return &eventv1.Event{
		Id: r.idOf(kind, series, b, e), Source: r.source, Type: kind, Subject: series,
		TimeUnixNano: uint64(e.Time), IngestTimeUnixNano: uint64(e.IngestTime),
		PartitionKey: strings.Clone(e.Key()), Entity: entity, Related: related,
		TraceId: []byte(string(e.TraceID)), SpanId: []byte(string(e.SpanID)), Attributes: l.attributes(),
	}
}

func (r results) anomaly(b *stage.Batch, e *event.Event, m event.Metric, l labels, seen uint64, score, expected float64) *eventv1.Event {
	out := r.base(TypeAnomaly, b, e, m, l)
	out.SeverityNumber, out.SeverityText = 13, event.SeverityText(13)
	unit := unitOf(e, m)
	out.Body = fmt.Sprintf("%s of %s is %s, expected about %s (score %.1f)", m.Name, entityText(out.Entity, e.Source)+l.text(),
		quantity(m.Value, unit), quantity(expected, unit), score)
	out.Signal = &eventv1.Event_Anomaly{Anomaly: &eventv1.Anomaly{
		Series: out.Subject, Metric: strings.Clone(m.Name), Value: m.Value, Expected: expected, Score: score,
		Algorithm: anomalyAlgorithm, Observations: seen, EventId: strings.Clone(e.ID), Unit: unit,
	}}
	return out
}

func (r results) trend(b *stage.Batch, e *event.Event, m event.Metric, l labels, t trendResult, span float64) *eventv1.Event {
	out := r.base(TypeTrend, b, e, m, l)
	out.SeverityNumber, out.SeverityText = 9, event.SeverityText(9)
	unit := unitOf(e, m)
	direction := "rising"
	if t.slope < 0 {
		direction = "falling"
	}
	out.Body = fmt.Sprintf("%s of %s is %s by %s a minute", m.Name, entityText(out.Entity, e.Source)+l.text(), direction,
		quantity(math.Abs(t.slope)/span*60, unit))
	out.Signal = &eventv1.Event_Trend{Trend: &eventv1.Trend{
		Series: out.Subject, Metric: strings.Clone(m.Name), SlopePerSecond: t.slope / span, SlopeLow: t.low / span,
		SlopeHigh: t.high / span, LastValue: m.Value, Observations: uint32(t.n), PValue: t.p, Direction: direction,
		Unit: unit,
	}}
	return out
}

func refs(e *event.Event) (entity *eventv1.EntityRef, related []*eventv1.EntityRef) {
	if e.Entity != (event.EntityRef{}) {
		entity = ref(e.Entity)
	}
	e.RelatedRefs(func(r event.EntityRef) bool { related = append(related, ref(r)); return true })
	return entity, related
}

func ref(r event.EntityRef) *eventv1.EntityRef {
	return &eventv1.EntityRef{
		Kind: strings.Clone(r.Kind), Namespace: strings.Clone(r.Namespace), Name: strings.Clone(r.Name), Uid: strings.Clone(r.UID),
		ApiVersion: strings.Clone(r.APIVersion), Cluster: strings.Clone(r.Cluster), Role: strings.Clone(r.Role),
	}
}

func entityText(r *eventv1.EntityRef, source string) string {
	switch {
	case r.GetName() == "":
		return source
	case r.GetNamespace() == "":
		return strings.ToLower(r.GetKind()) + " " + r.GetName()
	default:
		return strings.ToLower(r.GetKind()) + " " + r.GetNamespace() + "/" + r.GetName()
	}
}

// unitOf is the UCUM unit of what is looked at: of a counter, that of its rate.
func unitOf(e *event.Event, m event.Metric) string {
	switch {
	case m.Kind != kindCounter || e.Time == 0:
		return strings.Clone(m.Unit)
	case m.Unit == "":
		return "1/s"
	}
	return m.Unit + "/s"
}

// quantity writes a value and its UCUM unit; bytes are scaled.
func quantity(v float64, unit string) string {
	if base, _ := strings.CutSuffix(unit, "/s"); base == "By" {
		for _, p := range []struct {
			size float64
			name string
		}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
			if v >= p.size || v <= -p.size {
				return strconv.FormatFloat(v/p.size, 'f', 1, 64) + " " + p.name + unit[len(base):]
			}
		}
	}
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if unit == "" || unit == "1" {
		return text
	}
	return text + " " + unit
}
