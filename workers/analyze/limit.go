package analyze

import (
	"fmt"
	"slices"
	"strings"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// toLimit is how far a value is below the limit that its event names; 0 = it names none, or is there. That of a counter
// is no limit of its rate.
func toLimit(e *event.Event, m event.Metric) (left float64) {
	v, ok := e.Attribute(LimitAttribute)
	if !ok || m.Kind == kindCounter {
		return 0
	}
	if limit, ok := v.Float(); ok && limit > m.Value { // NaN is not
		return limit - m.Value
	}
	return 0
}

// openLimit is an insight about a limit that was told and is not closed.
type openLimit struct {
	about *eventv1.Event // the series, when its limit was near last
	name  string
	seen  int64 // the stream time then
}

// nears notes that the limit of a series is near; about is made of the event that shows it. It says whether a person has
// to be told: an estimate that goes to and fro across the hour is told once.
func (in *insights) nears(b *stage.Batch, id, metric string, about *eventv1.Event) bool {
	l, ok := in.limits.Get(id)
	if !ok {
		if in.limits.Len() == in.max {
			oldest, l, _ := in.limits.GetOldest()
			in.limits.Remove(oldest)
			in.closeLimit(b, oldest, l)
		}
		l = &openLimit{}
		in.limits.Add(id, l)
	}
	*l = openLimit{about, metric + " of " + entityText(about.GetEntity(), about.GetSubject()), b.Now.UnixNano()}
	return !ok && in.resumed(id) == nil
}

// limitID is the id of the insight about the limit of a series. It is the same each time that the limit comes near: a
// stage that is rebuilt has not seen when a slow leak began, and closes it all the same.
func (in *insights) limitID(series, source string) string {
	return event.NewID(in.pipeline, TypeInsight, "limit", series, source)
}

// closeLimit tells that a limit is not near any more. It says nothing of how that began, which a rebuilt stage has not seen.
func (in *insights) closeLimit(b *stage.Batch, id string, l *openLimit) {
	root := workload(l.about)
	b.Produce(stage.NoParent, stage.Insights, in.event(id, l.about, 13, &eventv1.Insight{
		Title: l.name + " does not near its limit any more", Summary: "The series ended, or no longer rises towards its limit.",
		RuleId: "trend-to-limit", Algorithm: trendAlgorithm, RootCause: root, Affected: []*eventv1.EntityRef{root},
		LastSeenUnixNano: l.about.GetTimeUnixNano(), Count: 1, Status: "closed", Revision: 2,
	}))
}

// Attributes of an insight about a limit: the limit, in the unit of the metric, and when it is reached, in seconds from the time of the insight. What is not
// within farthest is left out.
const (
	attributeLimit  = "trend.limit"
	attributeMiddle = "trend.reached.seconds"
	attributeLow    = "trend.reached.seconds.low"
	attributeHigh   = "trend.reached.seconds.high"
)

// limit tells about a series that rises towards its limit. found is the trend as it is now.
func (in *insights) limit(b *stage.Batch, id string, e *event.Event, m event.Metric, found *eventv1.Event, left float64, when forecast) {
	root := workload(found)
	told := in.event(id, found, 13, &eventv1.Insight{
		Title: fmt.Sprintf("%s of %s nears its limit", m.Name, entityText(found.GetEntity(), found.GetSubject())),
		Summary: fmt.Sprintf("%s; at this rate the limit of %s is reached %s", found.GetBody(),
			event.Quantity(m.Value+left, m.Unit), when),
		RuleId: "trend-to-limit", Algorithm: trendAlgorithm, Confidence: 1 - found.GetTrend().GetPValue(),
		ConfidenceMethod: fmt.Sprintf("1 - p of Mann-Kendall, n=%d points", found.GetTrend().GetObservations()),
		RootCause:        root, Affected: []*eventv1.EntityRef{root}, Count: 1, Status: "open", Revision: 1,
		FirstSeenUnixNano: found.GetTimeUnixNano(), LastSeenUnixNano: found.GetTimeUnixNano(),
		Evidence: []*eventv1.Evidence{{
			EventId: strings.Clone(e.ID), Type: TypeTrend, TimeUnixNano: found.GetTimeUnixNano(), Relation: "same-series",
			Text: found.GetBody(), Entity: found.GetEntity(),
		}},
	})
	told.Attributes = []*eventv1.KeyValue{number(attributeLimit, m.Value+left)}
	for key, reached := range map[string]time.Duration{attributeMiddle: when.middle, attributeLow: when.low, attributeHigh: when.high} {
		if reached != endless {
			told.Attributes = append(told.Attributes, number(key, reached.Seconds()))
		}
	}
	slices.SortFunc(told.GetAttributes(), func(a, b *eventv1.KeyValue) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	b.Produce(stage.NoParent, stage.Insights, told)
}

func number(key string, v float64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: v}}
}
