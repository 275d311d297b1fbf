package analyze

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// The types of the events that the stage makes.
const (
	TypeAnomaly = "millrace.anomaly"
	TypeTrend   = "millrace.trend"
	TypeInsight = "millrace.insight"
	// TypePrediction is a score of a model.
	TypePrediction = "millrace.prediction"
)

// The versions are part of what a result says, so that a reader can tell two algorithms apart.
const (
	noveltyAlgorithm  = "delay-plane-novelty/exponential-tail/v1"
	flatlineAlgorithm = "longest-run/v1"
	missingAlgorithm  = "longest-silence/v1"
	trendAlgorithm    = "mann-kendall+theil-sen/v1"
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

// AttributeScore is the attribute of a result that holds its score.
const AttributeScore = "anomaly-score"

// anomaly is a result about a value. Where each score is a result, one that is no anomaly is an information.
func (r results) anomaly(b *stage.Batch, e *event.Event, m event.Metric, l labels, f finding, told bool) *eventv1.Event {
	out := r.base(TypeAnomaly, b, e, m, l)
	if f.kind != kindNovelty {
		out.Id = r.idOf(f.kind, out.GetSubject(), b, e)
	}
	f.value = m.Value
	out.Signal = &eventv1.Event_Anomaly{Anomaly: f.anomaly(out.GetSubject(), m.Name, unitOf(e, m), e.ID)}
	finish(out, f, entityText(out.GetEntity(), e.Source)+l.text(), told)
	return out
}

// missing is a result about a series without values; about is what name remembered, and at the event time of the lane. It is an information where the series
// is likely to have ended, or many have.
func (r results) missing(b *stage.Batch, about *eventv1.Event, f finding, at int64, told bool) *eventv1.Event {
	m, source := about.GetMetric(), about.GetSource()
	out := about
	out.Id = event.NewID(r.pipeline, kindMissing, out.GetSubject(), source, strconv.FormatInt(f.last, 10))
	out.Source, out.Type, out.TimeUnixNano, out.IngestTimeUnixNano = r.source, TypeAnomaly, uint64(at), uint64(b.Now.UnixNano())
	text := entityText(out.GetEntity(), source)
	if at := strings.IndexByte(out.GetSubject(), '{'); at >= 0 {
		text += out.GetSubject()[at:]
	}
	out.Signal = &eventv1.Event_Anomaly{Anomaly: f.anomaly(out.GetSubject(), m.GetName(), m.GetUnit(), "")}
	finish(out, f, text, told)
	return out
}

func finish(out *eventv1.Event, f finding, about string, told bool) {
	out.SeverityNumber = event.SeverityWarn
	if !told {
		out.SeverityNumber = event.SeverityInfo
	}
	out.SeverityText = event.SeverityText(out.SeverityNumber)
	out.Attributes = append(out.Attributes, &eventv1.KeyValue{Key: AttributeScore, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: f.score}})
	a := out.GetAnomaly()
	out.Body = a.GetMetric() + " of " + about + " " + f.text(a.GetUnit())
}

func (f finding) anomaly(series, metric, unit, id string) *eventv1.Anomaly {
	a := &eventv1.Anomaly{
		Series: series, Metric: strings.Clone(metric), Value: f.value, Expected: f.expected, Score: f.score, Algorithm: f.algorithm(),
		Observations: f.seen, EventId: strings.Clone(id), Unit: unit, Kind: f.kind,
	}
	if f.kind == kindNovelty && f.lag > 0 {
		a.Lag, a.Scale = uint32(f.lag), "fine"
		if f.coarse {
			a.Scale = "coarse"
		}
	}
	return a
}

func (f finding) algorithm() string {
	switch f.kind {
	case kindFlatline:
		return flatlineAlgorithm
	case kindMissing:
		return missingAlgorithm
	}
	return noveltyAlgorithm
}

// text says what was found, behind the name of the series.
func (f finding) text(unit string) string {
	switch f.kind {
	case kindFlatline:
		return fmt.Sprintf("has been exactly %s for %d values, before it never for more than %d (score %.1f)",
			event.Quantity(f.value, unit), f.run, f.longest, f.score)
	case kindMissing:
		return fmt.Sprintf("has had no value for %s, before it had one every %s; the last one, %s, is of %s (score %.1f)",
			f.silent.Round(time.Second), about(f.interval), event.Quantity(f.value, unit), time.Unix(0, f.last).UTC().Format(time.TimeOnly), f.score)
	}
	return fmt.Sprintf("is %s, expected about %s (score %.1f%s)", event.Quantity(f.value, unit), event.Quantity(f.expected, unit), f.score, f.why())
}

// about is a time in a precision that fits it.
func about(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(time.Second / 10)
}

// why says where the value is new, as far as it is.
func (f finding) why() string {
	switch {
	case f.lag == 0:
		return ""
	case f.far:
		return fmt.Sprintf(", far outside of %d values before", f.seen-1)
	case f.coarse:
		return fmt.Sprintf(", new as a mean of 24 values beside that %d values before", f.lag)
	}
	return fmt.Sprintf(", new beside the value %d before", f.lag)
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
		event.Quantity(math.Abs(t.slope)/span*60, unit))
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
