package correlate

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate/runs"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

type correlator struct {
	source   string
	realtime *realtime // nil = off
	windows  *windows  // nil = off
	runs     *detector // nil = off
	patterns *learner  // nil = off
	kept     state.Format
	// passes says that events that belong to nothing leave, too.
	passes bool
}

func newCorrelator(s stage.Settings, set settings) *correlator {
	c := &correlator{source: fmt.Sprintf("/pipelines/%s/stages/%s", s.Config.Pipeline, s.Config.Stage), passes: s.Config.Correlate.PassThrough}
	if set.realtime != nil {
		c.realtime = newRealtime(set.realtime, voice{source: c.source, pipeline: s.Config.Pipeline.String()}, s.Metrics)
	}
	if set.window != nil {
		c.windows = newWindows(set.window, s)
	}
	if set.runs != nil {
		c.runs = newDetector(set.runs, voice{source: c.source, pipeline: s.Config.Pipeline.String()}, s)
	}
	if set.patterns != nil {
		c.patterns = newLearner(set.patterns, voice{source: c.source, pipeline: s.Config.Pipeline.String()}, s)
	}
	c.kept = c.format(set, s.Config.Partitions, s.Lanes)
	return c
}

// Start has nothing to wait for.
func (*correlator) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*correlator) Shutdown(context.Context) error { return nil }

// Reload returns a stage that reports groups from the number of events that c says, and has the
// windows and incidents of this one.
func (c *correlator) Reload(to *config.StageConfig) (stage.Stage, error) {
	set, err := settingsOf(to.Correlate)
	if err != nil {
		return nil, err
	}
	next := *c
	if c.windows != nil {
		windows := *c.windows
		windows.minEvents = set.window.MinEvents
		next.windows = &windows
	}
	return &next, nil
}

// Horizon is as far back as the state of the stage reaches, in stream time.
func (c *correlator) Horizon() (horizon time.Duration) {
	if c.realtime != nil {
		// What an incident that has just begun knows of what came before it, and the incident.
		horizon = time.Duration(c.realtime.memory.span + c.realtime.idle)
	}
	if c.windows != nil {
		horizon = max(horizon, c.windows.horizon())
	}
	if c.runs != nil {
		horizon = max(horizon, runs.Horizon)
	}
	if c.patterns != nil {
		horizon = max(horizon, c.patterns.horizon())
	}
	return horizon
}

// lateBy is how much later than others an event may be stored, for windows to be rebuilt as
// they were.
const lateBy = time.Minute

// Process looks at every event of b in order.
func (c *correlator) Process(_ context.Context, b *stage.Batch) error {
	notable := false
	for i := range b.Events {
		e := &b.Events[i]
		if c.runs != nil {
			c.runs.take(e, b.Now)
		}
		if c.patterns != nil && e.Marked() {
			c.patterns.take(e, b.Now)
		}
		s, ok := signalOf(e)
		if !ok {
			c.leave(b, i)
			continue
		}
		if !notable {
			c.closeWindows(b, false) // those that nothing came for
			notable = true
		}
		if !c.take(b, e, observe(e, s, b.Now)) {
			c.leave(b, i)
		}
	}
	if notable {
		if c.windows != nil {
			c.windows.advance(b)
		}
		if c.realtime != nil {
			c.realtime.settle()
		}
		c.tell(b)
		c.closeWindows(b, false)
	}
	if c.runs != nil {
		c.runs.settle(b)
		c.publish(b)
	}
	if c.patterns != nil {
		c.patterns.settle(b)
	}
	return nil
}

// leave ends an event that belongs to nothing, or has it pass.
func (c *correlator) leave(b *stage.Batch, i int) {
	if !c.passes {
		b.Filter(i)
	}
}

// take hands one notable event to both ways of correlation, and says whether it belongs to
// an incident.
func (c *correlator) take(b *stage.Batch, e *event.Event, o *observation) bool {
	if c.windows != nil && rules[o.signal].class != recovery {
		if g := c.windows.take(b, e, o); g != nil {
			b.Produce(stage.NoParent, stage.Out, g.event(c.source, c.windows.size))
		}
	}
	if c.realtime == nil {
		return false
	}
	c.realtime.take(o)
	inc := o.incident.find()
	if inc == nil {
		return false
	}
	annotation := event.Correlation{CorrelationID: inc.id, IncidentID: inc.id}
	if o.cause != nil {
		annotation.CausationID = o.cause.id
		annotation.Links = []event.Link{{
			EventID: o.cause.id, Relation: o.link.over.String(), RuleID: o.cause.signal.String() + ">" + o.signal.String(), DeltaNs: o.time - o.cause.time,
		}}
	}
	e.SetCorrelation(annotation)
	return true
}

// tell produces the insights about what changed.
func (c *correlator) tell(b *stage.Batch) {
	if c.realtime == nil {
		return
	}
	for _, e := range c.realtime.news {
		b.Produce(stage.NoParent, stage.Insights, e)
	}
	clear(c.realtime.news)
	c.realtime.news = c.realtime.news[:0]
}

// publish produces the insights of runs.
func (c *correlator) publish(b *stage.Batch) {
	for _, e := range c.runs.news {
		b.Produce(stage.NoParent, stage.Insights, e)
	}
	clear(c.runs.news)
	c.runs.news = c.runs.news[:0]
}

func (c *correlator) closeWindows(b *stage.Batch, all bool) {
	if c.windows == nil {
		return
	}
	for _, g := range c.windows.close(b.Now.UnixNano(), all) {
		b.Produce(stage.NoParent, stage.Out, g.event(c.source, c.windows.size))
	}
}

// Flush closes windows that nothing came for and incidents that are over; the final one
// closes all windows and tells the last of every open incident.
func (c *correlator) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	b.Now = now
	c.closeWindows(b, final)
	if c.runs != nil {
		c.runs.flush(now, final)
		c.publish(b)
	}
	if c.patterns != nil {
		c.patterns.flush(b, now, final)
	}
	if c.realtime == nil {
		return nil
	}
	r := c.realtime
	r.settle()
	r.advance(now.UnixNano())
	r.sweep(now.UnixNano())
	r.catchUp(now.UnixNano())
	if final {
		r.end()
	}
	c.tell(b)
	return nil
}
