package analyze

import (
	"context"
	"fmt"
	"math"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

type analyzer struct {
	settings
	store    *store
	results  results
	line     line // of the series that is tested for a trend
	insights insights
}

func newAnalyzer(s stage.Settings, set settings) *analyzer {
	source := fmt.Sprintf("/pipelines/%s/stages/%s", s.Config.Pipeline, s.Config.Stage)
	return &analyzer{
		settings: set, store: newStore(s.Share(set.maxSeries), s.Metrics),
		results: results{source: source}, insights: newInsights(source, set.threshold, s.Share(maxEpisodes), s.Metrics),
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
	next.threshold, next.minPoints, next.insights.threshold = set.threshold, set.minPoints, set.threshold
	return &next, nil
}

// rebuildAnomaly is how much input makes a detector again: 30 values, which is the default
// warm-up, of a series with one a minute. More than that changes little
// (TestRebuiltDetector): a detector learns from its last 50 values, and from the range and
// the tails of all before, of which no horizon would hold enough.
const rebuildAnomaly = 30 * time.Minute

// Horizon is as far back as the points of a trend reach, twice: the trend that was told last
// is known by what it was told of. A detector reaches back further than any horizon.
func (a *analyzer) Horizon() (horizon time.Duration) {
	if a.trend {
		horizon = 2 * (maxPoints + 1) * a.span
	}
	if a.anomaly {
		horizon = max(horizon, rebuildAnomaly)
	}
	return horizon
}

// maxValue bounds the values that are looked at: squares of larger ones overflow. No
// number, NaN, is not below it either.
const maxValue = 1e150

// Process looks at every event that carries a metric; all input ends here.
func (a *analyzer) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		b.Filter(i)
		m, ok := e.Metric()
		if !ok || m.Name == "" || !(math.Abs(m.Value) < maxValue) {
			continue
		}
		s := a.store.of(&e.Entity, e.Source, m.Name)
		var over time.Duration
		if m.Kind == kindCounter { // its sum rises for ever, and its resets are no news
			if m.Value, over, ok = s.counter.rate(m.Value, e.Time); !ok {
				continue
			}
		}
		if a.anomaly {
			a.score(b, e, m, s)
		}
		// A rate over more than the window is of no time in it, and a rebuilt instance may not know it.
		if a.trend && e.Time > 0 && over <= maxPoints*a.span {
			a.follow(b, e, m, s)
		}
	}
	a.store.size.Set(float64(a.store.lru.Len()))
	return nil
}

func (a *analyzer) score(b *stage.Batch, e *event.Event, m event.Metric, s *series) {
	score, expected, ok := s.detector.add(m.Value, a.warmup)
	if !ok || !s.detector.told(score, a.threshold, a.warmup) {
		return
	}
	found := a.results.anomaly(e, m, s.detector.n, score, expected)
	b.Produce("out", found)
	a.insights.anomaly(b, e, found)
}

// follow tells a trend when it begins or turns round, and that the limit of a series that rises has come near. The
// latter does not ask for the trend that was told: a rebuilt instance has not seen when a slow leak began.
func (a *analyzer) follow(b *stage.Batch, e *event.Event, m event.Metric, s *series) {
	did := s.points.add(e.Time, m.Value, int64(a.span))
	if did.anew { // a trend that was told went with its points
		s.direction, s.near = 0, 0
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
	nears = nears && s.nears()
	if !begins && !nears {
		return
	}
	r.low, r.high = r.interval(&a.line)
	found := a.results.trend(e, m, r, a.span.Seconds())
	if begins {
		s.direction = direction
		b.Produce("out", found)
	}
	if nears {
		a.insights.limit(b, e, m, found, left)
	}
}
