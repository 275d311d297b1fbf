package compare

import (
	"encoding/base64"
	"fmt"
	"math"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

// attributeState has the sums of an experiment, for the worker that goes on with it.
const attributeState = "compare.state"

// insight is the next revision of the insight.
func (c *comparer) insight(all *sums, found []finding) *eventv1.Event {
	c.course.revision++
	title, severity, best := "No sure difference yet between the variants of "+c.pipeline, int32(severityUndecided), 1.0
	for i, name := range c.variants {
		f := &found[i]
		if i == c.control || !f.significant || f.gone {
			continue
		}
		word := "less"
		if f.more {
			word = "more"
		}
		title = fmt.Sprintf("%s has the outcome %s often than %s: %s against %s", name, word, c.variants[c.control],
			percent(all.variants[i].rate()), percent(all.variants[c.control].rate()))
		severity, best = severityDecided, min(best, f.p)
	}
	e := c.event(c.course.id, TypeInsight, title)
	e.SeverityNumber, e.SeverityText = severity, event.SeverityText(severity)
	status := "open"
	if c.course.revision > 1 {
		status = "updated"
	}
	e.Signal = &eventv1.Event_Insight{Insight: &eventv1.Insight{
		Title: title, Summary: c.words(all, found), RuleId: "compare", Algorithm: algorithm, Confidence: 1 - best,
		ConfidenceMethod: "1 - p of a test that is valid at every look", Status: status, Revision: c.course.revision,
		FirstSeenUnixNano: uint64(c.course.since), LastSeenUnixNano: uint64(c.course.seen), Count: uint32(min(c.events(all), math.MaxUint32)),
	}}
	text, err := state.Write(nil, c.told, func(sc *state.Codec) {
		k := codec{sc}
		k.course(&c.course, len(c.variants))
		k.sums(all)
	})
	if err == nil { // else a worker that takes over counts anew
		e.Attributes = []*eventv1.KeyValue{{Key: attributeState, Value: &eventv1.KeyValue_StringValue{StringValue: base64.StdEncoding.EncodeToString(text)}}}
	}
	return e
}

func (*comparer) events(all *sums) (n int64) {
	for i := range all.variants {
		n += total(&all.variants[i].events)
	}
	return n
}

// close ends the insight of an experiment that is over.
func (c *comparer) close(b *stage.Batch) {
	if c.course.id == "" {
		return
	}
	e := c.insight(c.findings())
	e.GetInsight().Status = "closed"
	b.Produce(stage.NoParent, stage.Insights, e)
}

// Remembers is how long an experiment goes on without an event, and a day more.
func (*comparer) Remembers() time.Duration { return 2 * quiet }

// Recall goes on with the experiment that people know of, and closes those of other settings.
func (c *comparer) Recall(told []*eventv1.Event, after time.Time) {
	c.closeAfter = after.UnixNano()
	for _, e := range told {
		if e.GetInsight().GetStatus() == "closed" {
			continue
		}
		switch {
		case c.resume(e):
		case c.course.since > 0 && e.GetId() == c.id(TypeInsight, c.course.since): // it is this one, counted anew
			c.course.revision = e.GetInsight().GetRevision()
		default:
			c.closing = append(c.closing, e)
		}
	}
}

// resume takes the sums of an insight for those of all spans that it counts. It reports whether they are of this experiment.
func (c *comparer) resume(e *eventv1.Event) bool {
	var text []byte
	for _, a := range e.GetAttributes() {
		if a.GetKey() == attributeState {
			text, _ = base64.StdEncoding.DecodeString(a.GetStringValue()) // what is no base64 is no state
		}
	}
	var told course
	all := newSums(len(c.variants), c.mirror)
	err := state.Read(text, c.told, func(sc *state.Codec) {
		k := codec{sc}
		k.course(&told, len(c.variants))
		k.sums(all)
	})
	if err != nil {
		return false
	}
	seen := c.course.seen
	c.course, c.before = told, all
	c.course.seen = max(seen, told.seen)
	rest := c.recent[:0]
	for _, s := range c.recent {
		if s.number*int64(c.interval) >= told.until {
			rest = append(rest, s)
		}
	}
	c.recent = rest
	if c.now.number >= 0 && c.now.number*int64(c.interval) < told.until {
		c.now.sums = newSums(len(c.variants), c.mirror) // told already, when all of the input was
	}
	return true
}

// closeOthers closes what was open before a takeover and does not go on.
func (c *comparer) closeOthers(b *stage.Batch, final bool) {
	if b.Now.UnixNano() <= c.closeAfter && !final {
		return
	}
	for _, e := range c.closing {
		e.GetInsight().Status, e.GetInsight().Revision = "closed", e.GetInsight().GetRevision()+1
		b.Produce(stage.NoParent, stage.Insights, e)
	}
	c.closing = nil
}
