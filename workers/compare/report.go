package compare

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
	TypeReport  = "millrace.experiment.report"
	TypeInsight = "millrace.insight"
)

// algorithm is part of what an insight says, so that a reader can tell two of them apart.
const algorithm = "msprt/grouped-keys/v1"

// finding is what is known of a candidate.
type finding struct {
	difference
	p, margin float64
	// significant says that a difference was found, in the direction more; gone, that today's does not have it any more.
	significant, more, gone bool
}

// tell produces the report of the spans that are over, and a revision of the insight.
func (c *comparer) tell(b *stage.Batch) {
	all, found := c.findings()
	if c.course.id == "" {
		c.course.id = c.id(TypeInsight, c.course.since)
	}
	report, insight := c.report(all, found), c.insight(all, found)
	// The last span of a drained run ends before its time.
	at := uint64(min(c.course.until, b.Now.UnixNano()))
	report.TimeUnixNano, report.IngestTimeUnixNano, insight.TimeUnixNano, insight.IngestTimeUnixNano = at, at, at, at
	b.Produce(stage.NoParent, stage.Out, report)
	b.Produce(stage.NoParent, stage.Insights, insight)
}

// findings are what is known of each variant, after all spans that are over; that of the control is empty.
func (c *comparer) findings() (all *sums, found []finding) {
	all, found = c.sums(), make([]finding, len(c.variants))
	for i := range c.variants {
		if i != c.control {
			found[i] = c.find(all, i)
		}
	}
	return all, found
}

// find tests a candidate. What was significant once stays so.
func (c *comparer) find(all *sums, i int) finding {
	var f finding
	if c.mirror {
		f.difference = differInPairs(&all.pairs[i])
	} else {
		f.difference = differ(&all.variants[c.control], &all.variants[i])
	}
	if p := f.difference.p(c.effect); p < c.course.least[i] {
		c.course.least[i], c.course.more[i] = p, f.rate > 0
	}
	f.p, f.margin = c.course.least[i], f.difference.margin(c.effect, c.alpha)
	if f.p <= c.alpha {
		c.course.significant[i] = true
	}
	f.significant, f.more = c.course.significant[i], c.course.more[i]
	f.gone = f.significant && f.more != (f.rate > 0)
	return f
}

func (c *comparer) id(kind string, at int64) string {
	return event.NewID(c.source, kind, c.text, strconv.FormatInt(at, 10))
}

// report is a report as an event: a number in each attribute.
func (c *comparer) report(all *sums, found []finding) *eventv1.Event {
	e := c.event(c.id(TypeReport, c.course.until), TypeReport, c.words(all, found))
	number := func(name string, x float64) {
		if !math.IsInf(x, 0) {
			e.Attributes = append(e.Attributes, &eventv1.KeyValue{Key: name, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: x}})
		}
	}
	count := func(name string, n int64) {
		e.Attributes = append(e.Attributes, &eventv1.KeyValue{Key: name, Value: &eventv1.KeyValue_IntValue{IntValue: n}})
	}
	for i, name := range c.variants {
		v := &all.variants[i]
		count(name+".events", total(&v.events))
		count(name+".outcomes", total(&v.outcomes))
		number(name+".rate", v.rate())
		if q := v.latency.quantiles(0.5, 0.99); q != nil {
			number(name+".latency-p50-ms", q[0])
			number(name+".latency-p99-ms", q[1])
		}
		if q := v.score.quantiles(0.1, 0.5, 0.9, 0.99); q != nil {
			number(name+".score-p10", q[0])
			number(name+".score-p50", q[1])
			number(name+".score-p90", q[2])
			number(name+".score-p99", q[3])
		}
		if i == c.control {
			continue
		}
		f := &found[i]
		number(name+".difference", f.rate)
		number(name+".difference-low", f.rate-f.margin)
		number(name+".difference-high", f.rate+f.margin)
		number(name+".p-value", f.p)
		e.Attributes = append(e.Attributes, &eventv1.KeyValue{Key: name + ".significant", Value: &eventv1.KeyValue_BoolValue{BoolValue: f.significant}})
		if c.mirror {
			part, kappa := all.pairs[i].agree()
			count(name+".pairs", total(&all.pairs[i].events))
			number(name+".agreement", part)
			number(name+".kappa", kappa)
		}
	}
	if c.mirror {
		count("unmatched", all.unmatched)
	}
	return e
}

func (c *comparer) event(id, kind, body string) *eventv1.Event {
	return &eventv1.Event{
		Id: id, Source: c.source, Type: kind, Subject: c.pipeline, TimeUnixNano: uint64(c.course.until), IngestTimeUnixNano: uint64(c.course.until),
		SeverityNumber: severityUndecided, SeverityText: event.SeverityText(severityUndecided), PartitionKey: c.source, Body: body,
	}
}

// An experiment that is not decided yet is nothing to tell people of.
const (
	severityUndecided = 5
	severityDecided   = 9
)

// words says how the variants do.
func (c *comparer) words(all *sums, found []finding) string {
	control := &all.variants[c.control]
	var t strings.Builder
	fmt.Fprintf(&t, "%s: %s of %d events", c.variants[c.control], percent(control.rate()), total(&control.events))
	for i, name := range c.variants {
		if i == c.control {
			continue
		}
		v, f := &all.variants[i], &found[i]
		fmt.Fprintf(&t, "; %s: %s of %d events, %s", name, percent(v.rate()), total(&v.events), f.text())
		if c.mirror {
			part, _ := all.pairs[i].agree()
			fmt.Fprintf(&t, ", the same as %s for %s of %d events", c.variants[c.control], percent(part), total(&all.pairs[i].events))
		}
	}
	return t.String()
}

// text says how sure a difference is.
func (f *finding) text() string {
	switch {
	case math.IsInf(f.margin, 0):
		return "too few to tell a difference"
	case f.gone:
		return fmt.Sprintf("the difference that was found (p %.2g) is not there any more: %s to %s points", f.p, points(f.rate-f.margin), points(f.rate+f.margin))
	case f.significant:
		return fmt.Sprintf("a difference of %s to %s points (p %.2g)", points(f.rate-f.margin), points(f.rate+f.margin), f.p)
	}
	return fmt.Sprintf("no difference that is sure: %s to %s points (p %.2g)", points(f.rate-f.margin), points(f.rate+f.margin), f.p)
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 2, 64) + " %" }

func points(x float64) string { return fmt.Sprintf("%+.2f", 100*x) }
