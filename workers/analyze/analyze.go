package analyze

import (
	"context"
	"fmt"
	"math"
	"time"

	"millrace.dev/millrace/workers/analyze/novelty"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

type analyzer struct {
	settings
	store   *store
	clock   novelty.Clock // the event time of all series
	swept   int64         // its newest time when silence was looked for last
	results results
	line    line // of the series that is tested for a trend
	// inference is the model; nil = there is none.
	inference *inference
	insights  insights
	kept      state.Format
	// passes says that the input leaves, too.
	passes bool
}

func newAnalyzer(s stage.Settings, set settings) *analyzer {
	source := fmt.Sprintf("/pipelines/%s/stages/%s", s.Config.Pipeline, s.Config.Stage)
	return &analyzer{
		settings: set, store: newStore(set, s.Share(set.maxSeries), s.Metrics),
		results:  results{source: source, pipeline: s.Config.Pipeline.String()},
		insights: newInsights(source, s.Config.Pipeline.String(), set, s.Share(maxEpisodes), s.Metrics),
		kept:     format(set, source, s.Lanes),
		passes:   s.Config.Analyze.PassThrough,
	}
}

// Start has nothing to wait for.
func (*analyzer) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*analyzer) Shutdown(context.Context) error { return nil }

// Reload returns a stage with the thresholds of c that knows the series of this one.
func (a *analyzer) Reload(c *config.StageConfig) (stage.Stage, error) {
	set, err := settingsOf(c.Analyze)
	if err != nil {
		return nil, err
	}
	next := *a
	next.threshold, next.minPoints, next.insights.threshold = set.threshold, set.minPoints, set.tells()
	if a.inference != nil {
		if next.inference, err = a.inference.reload(c.Analyze.Inference); err != nil {
			return nil, err
		}
	}
	return &next, nil
}

// rebuildAnomaly is how much input makes a detector again where there is no snapshot. A detector remembers all values of its series, of which no
// horizon would hold enough: a rebuilt one is young (TestTakeovers).
const rebuildAnomaly = 30 * time.Minute

// Horizon is as far back as the points of a trend reach, twice: the trend that was told last
// is known by what it was told of. A detector reaches back further than any horizon.
func (a *analyzer) Horizon() (horizon time.Duration) {
	if a.trend {
		horizon = 2 * (maxPoints + testEvery) * a.span
	}
	if a.anomaly {
		horizon = max(horizon, rebuildAnomaly)
	}
	horizon = max(horizon, 2*a.quiet) // of a score that opened an insight, and of those that keep it open
	return horizon
}

// maxValue bounds the values that are looked at: larger ones have no form in 32 bits, in which points and pairs are kept. No
// number, NaN, is not below it either.
const maxValue = 1e37

// Attributes that an event that passes is given: the score of its value and what was expected, and the direction of the trend that begins with it.
const (
	attributeScore    = "analyze.score"
	attributeExpected = "analyze.expected"
	attributeTrend    = "analyze.trend"
)

// Process looks at every event that carries a metric, and asks the model about every event; all input ends here, unless it passes.
func (a *analyzer) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		if !a.passes {
			b.Filter(i)
		}
		if a.inference != nil {
			a.predict(b, i)
		}
		m, ok := e.Metric()
		if !ok || m.Name == "" || !(math.Abs(m.Value) < maxValue) {
			continue
		}
		s, l := a.store.of(e, m.Name, b.Now.UnixNano(), happened(b, e))
		var over time.Duration
		if m.Kind == kindCounter { // its sum rises for ever, and its resets are no news
			if m.Value, over, ok = s.counter.rate(m.Value, e.Time); !ok {
				continue
			}
		}
		if a.anomaly {
			a.score(b, i, m, s, l)
		}
		// A rate over more than the window is of no time in it, and a rebuilt instance may not know it.
		if a.trend && e.Time > 0 && over <= maxPoints*a.span {
			a.follow(b, i, m, s, l)
		}
	}
	a.store.size.Set(float64(a.store.lru.Len()))
	return nil
}

// happened is when an event happened: no later than it was stored, so that a clock that is ahead moves no time.
func happened(b *stage.Batch, e *event.Event) int64 {
	stored := b.Now.UnixNano()
	if e.Time > 0 {
		return min(e.Time, stored)
	}
	return stored
}

// Flush tells what waits to be told, and closes insights that are over.
func (a *analyzer) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	b.Now = now
	if a.inference != nil {
		a.inference.look()
	}
	a.insights.flush(b, final)
	return nil
}

// follow tells a trend when it begins or turns round, and that the limit of a series that rises has come near. The
// latter does not ask for the trend that was told: a rebuilt instance has not seen when a slow leak began.
func (a *analyzer) follow(b *stage.Batch, i int, m event.Metric, s *series, l labels) {
	e := &b.Events[i]
	did := s.points.add(happened(b, e), m.Value, int64(a.span))
	if did.anew { // a trend that was told went with its points
		s.direction = 0
	}
	if !did.ended || s.points.n < a.minPoints {
		return
	}
	// Autocorrelation makes a trend less sure, never more: most tests end here.
	variance := s.points.variance()
	if s.points.surelyWeak(variance) {
		s.direction = 0
		return
	}
	p := s.points.chance(variance)
	direction := int8(sign(float64(s.points.s)))
	if p > weakP { // clearly over, not just weaker
		s.direction = 0
	}
	if !did.due || p >= maxP {
		return
	}
	begins, left := direction != s.direction, 0.0
	if direction > 0 {
		left = toLimit(e, m)
	}
	if !begins && left == 0 {
		return
	}
	r := s.points.slope(&a.line)
	begins = begins && r.large()
	nears := left > 0 && r.reaches(left, horizon.Seconds()/a.span.Seconds())
	if sign(r.slope) != float64(direction) || (!begins && !nears) || !s.points.significant(&a.line, &r) {
		return
	}
	var limit string
	l = l.clone()
	if nears {
		limit = a.insights.limitID(seriesName(&e.Entity, e.Source, m.Name)+l.text(), e.Source)
		nears = a.insights.nears(b, limit, m.Name, a.results.base(TypeTrend, b, e, m, l))
	}
	if !begins && !nears {
		return
	}
	r.low, r.high = r.interval(&a.line)
	found := a.results.trend(b, e, m, l, r, a.span.Seconds())
	if begins {
		s.direction = direction
		b.Produce(i, stage.Out, found)
		if a.passes {
			e.AddAttribute(attributeTrend, event.StringValue(found.GetTrend().GetDirection()))
		}
	}
	if nears {
		ago := (float64(happened(b, e))/float64(a.span)*parts - float64(s.points.last)) / parts
		a.insights.limit(b, limit, e, m, found, left, a.line.forecast(m.Value+left, &r).within(ago, a.span))
	}
}
