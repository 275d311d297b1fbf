package compare

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

// The reasons of dead letters.
const (
	reasonOutcome = "outcome_error"
	reasonScore   = "score_error"
	reasonKey     = "key_error"
)

type comparer struct {
	settings
	source, pipeline string
	// kept is the format of snapshots, told that of the sums in an insight.
	kept, told state.Format
	unmatched  prometheus.Counter

	// What is counted is cut into spans of an interval, by the stream time: the one that is being filled, the last ones, and all before.
	now     span
	recent  []span
	before  *sums
	course  course
	pending pending
	// closing are insights of before that this stage does not go on with: they are closed, later than closeAfter (stream time in ns).
	closing    []*eventv1.Event
	closeAfter int64
}

// course is what people were told so far.
type course struct {
	id       string
	since    int64 // where the first span begins, stream time in ns; 0 = nothing was counted yet
	until    int64 // where the last span ends that was told
	seen     int64 // the stream time of the last event
	revision uint32
	// least is the smallest p of each variant at any report; more says whether the variant had more of the outcome at that report, significant
	// whether p was ever small enough.
	least       []float64
	more        []bool
	significant []bool
}

// span is one interval.
type span struct {
	number int64 // since 1970
	*sums
}

// kept is how many spans before the present one can be taken back. A takeover replays as many, and drops those that the insight holds already.
const kept = 3

func newComparer(s stage.Settings, set settings) *comparer {
	c := &comparer{
		settings: set, source: fmt.Sprintf("/pipelines/%s/stages/%s", s.Config.Pipeline, s.Config.Stage), pipeline: s.Config.Pipeline.String(),
		unmatched: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_compare_unmatched_total", Help: "Events that some variants answered and others did not within an interval, with mode Mirror.",
		}),
	}
	c.kept = state.Format{Version: stateVersion, Depends: c.source + " " + set.text}
	c.told = state.Format{Version: insightVersion, Depends: c.kept.Depends}
	c.begin()
	if s.Metrics != nil {
		s.Metrics.MustRegister(c.unmatched)
	}
	return c
}

// begin begins a new experiment.
func (c *comparer) begin() {
	n := len(c.variants)
	c.now, c.recent, c.before = span{-1, newSums(n, c.mirror)}, nil, newSums(n, c.mirror)
	c.course = course{least: slices.Repeat([]float64{1}, n), more: make([]bool, n), significant: make([]bool, n)}
	c.pending = newPending()
}

// Start has nothing to wait for.
func (*comparer) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*comparer) Shutdown(context.Context) error { return nil }

// Horizon is that of the spans that can be taken back, and of events that wait for another variant.
func (c *comparer) Horizon() time.Duration { return kept * c.interval }

// Process counts the events of b, which end here.
func (c *comparer) Process(_ context.Context, b *stage.Batch) error {
	at := b.Now.UnixNano()
	c.roll(at)
	for i := range b.Events {
		if reason, err := c.count(&b.Events[i], at); err != nil {
			b.DeadLetter(i, reason, err)
			continue
		}
		b.Filter(i)
	}
	return nil
}

// count counts one event. An error says why it counts nowhere.
func (c *comparer) count(e *event.Event, at int64) (reason string, err error) {
	outcome, err := c.outcome.Holds(e)
	if err != nil {
		return reasonOutcome, fmt.Errorf("compare.outcome: %w", err)
	}
	key, err := c.keyOf(e)
	if err != nil {
		return reasonKey, fmt.Errorf("compare.key: %w", err)
	}
	var score float64
	if c.score != nil {
		if score, err = c.score.Of(e); err != nil {
			return reasonScore, fmt.Errorf("compare.score: %w", err)
		}
	}
	group := int(xxh3.HashString(key) % groups)
	v := &c.now.variants[e.Origin.Input]
	v.events[group]++
	if outcome {
		v.outcomes[group]++
	}
	if c.score != nil {
		v.score.add(score)
	}
	if e.IngestTime > 0 {
		v.latency.add(float64(max(at-e.IngestTime, 0)) / 1e6)
	}
	if c.mirror {
		c.match(e, group, outcome, at)
	}
	if c.course.since == 0 {
		c.course.since = c.now.number * int64(c.interval)
	}
	c.course.seen = at
	return "", nil
}

func (c *comparer) keyOf(e *event.Event) (string, error) {
	if c.key == nil {
		return e.Key(), nil
	}
	return c.key.Of(e)
}

// roll ends the span that is being filled when its time is over.
func (c *comparer) roll(at int64) {
	number := at / int64(c.interval)
	switch {
	case c.now.number < 0:
		c.now.number = number
	case number > c.now.number:
		c.expire(at - int64(c.interval))
		if !c.now.empty() {
			c.recent = append(c.recent, c.now)
		}
		c.now = span{number, newSums(len(c.variants), c.mirror)}
		for len(c.recent) > 0 && c.recent[0].number < number-kept {
			c.before.add(c.recent[0].sums)
			c.recent = slices.Delete(c.recent, 0, 1)
		}
	}
}

// sums are those of all spans that are over.
func (c *comparer) sums() *sums {
	all := newSums(len(c.variants), c.mirror)
	all.add(c.before)
	for i := range c.recent {
		all.add(c.recent[i].sums)
	}
	return all
}

// quiet is how long an experiment is not over although no event comes.
const quiet = 24 * time.Hour

// Flush tells what a span that is over has changed.
func (c *comparer) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	b.Now = now
	c.closeOthers(b, final)
	at := now.UnixNano()
	c.roll(at)
	if final && (!c.now.empty() || c.pending.Len() > 0) {
		c.expire(math.MaxInt64) // what waits for another variant will not meet it
		c.roll((c.now.number + 1) * int64(c.interval))
	}
	if len(c.recent) > 0 {
		if end := (c.recent[len(c.recent)-1].number + 1) * int64(c.interval); end > c.course.until {
			c.course.until = end
			c.tell(b)
		}
	}
	if c.course.since > 0 && at-c.course.seen > int64(quiet) {
		c.close(b)
		c.begin()
	}
	return nil
}
