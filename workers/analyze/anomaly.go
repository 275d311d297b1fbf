package analyze

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/analyze/novelty"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// anomalies is what is remembered of one series to find what is unusual in it: 1,408 bytes, of which memory is given out (TestMemoryPerSeries).
type anomalies struct {
	novelty.Detector
	novelty.Alarm
	flat   novelty.Flat
	rhythm novelty.Rhythm
	mean   float64 // exponentially weighted: what people are told was expected
}

// meanWeight is that of a value in the mean: about 50 values.
const meanWeight = 0.02

// learn takes a value and returns the mean before it.
func (s *anomalies) learn(x float64) (expected float64) {
	expected = s.mean
	if s.Age() == 1 {
		expected = x
	}
	s.mean = expected + float64(meanWeight*(x-expected))
	return expected
}

// score looks for what is unusual in a value.
func (a *analyzer) score(b *stage.Batch, i int, m event.Metric, s *series, l labels) {
	e := &b.Events[i]
	at := happened(b, e)
	a.clock.Add(at)
	s.rhythm.Add(at, &a.clock)
	a.silence(b)
	score := s.Add(m.Value)
	expected := s.learn(m.Value)
	found := finding{kind: kindNovelty, score: score.Value, expected: expected, seen: s.Age(), far: score.Far}
	told := s.Tell(score.Value, a.tells(), s.Age(), at)
	if told || a.threshold == 0 {
		found.lag, found.coarse = s.Seen(score)
		a.tell(b, i, m, l, found, told)
	}
	if s.flat.Add(m.Value) {
		a.frozen(b, i, m, s, l, expected)
	}
	a.name(b, e, m, s, l)
}

// tell makes a result, and has a person know of it if it is an anomaly.
func (a *analyzer) tell(b *stage.Batch, i int, m event.Metric, l labels, f finding, anomaly bool) {
	e := &b.Events[i]
	made := a.results.anomaly(b, e, m, l.clone(), f, anomaly)
	b.Produce(i, stage.Out, made)
	if anomaly {
		a.insights.anomaly(b, happened(b, e), made, f.far)
	}
	if a.passes && (f.kind == kindNovelty || a.threshold > 0) { // at 0 the value has its score already
		e.AddAttribute(attributeScore, event.DoubleValue(f.score))
		e.AddAttribute(attributeExpected, event.DoubleValue(f.expected))
	}
}

// frozen tells a flatline.
func (a *analyzer) frozen(b *stage.Batch, i int, m event.Metric, s *series, l labels, expected float64) {
	run, longest := s.flat.Runs()
	score := novelty.Rare(float64(run)/float64(longest), s.Age())
	if score < a.tells() {
		return
	}
	s.flat.Tell()
	a.tell(b, i, m, l, finding{
		kind: kindFlatline, score: score, expected: expected, seen: s.Age(), run: run, longest: longest,
	}, true)
}

// A series of which silence would be told has a name, which takes memory: that of a longer name is not remembered.
const maxName = 1024

// sweepEvery is how much event time passes between two looks for silence, and mostSilent how many series one tells: the rest is told by the next.
const (
	sweepEvery = 10 * time.Second
	mostSilent = 256
)

// Where more than fewSilent series, and a quarter of all with a rhythm, fall silent between two looks, it is what brings them that has stopped: a collector, or a
// source that lags behind others. Each is a result then, and none an insight.
const (
	fewSilent   = 8
	silentShare = 4
)

// name remembers what a series is about once its rhythm is known: its silence has no event that says it.
func (a *analyzer) name(b *stage.Batch, e *event.Event, m event.Metric, s *series, l labels) {
	if s.named || !s.rhythm.Steady() {
		return
	}
	s.named = true
	about := a.results.base(TypeAnomaly, b, e, m, l.clone())
	about.Id, about.Type, about.TraceId, about.SpanId, about.IngestTimeUnixNano = "", "", nil, nil, 0
	about.Source = e.Source
	about.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: m.Name, Unit: unitOf(e, m)}}
	if text, err := (proto.MarshalOptions{Deterministic: true}).Marshal(about); err == nil && len(text) <= maxName {
		s.name = string(text)
	}
}

// silence tells which series have fallen silent, those first that have had no value for longest.
func (a *analyzer) silence(b *stage.Batch) {
	newest := a.clock.Newest()
	if newest >= a.swept && newest-a.swept < int64(sweepEvery) {
		return
	}
	a.swept = newest
	var silent []*series
	known := 0
	for _, s := range a.store.lru.Values() {
		if s.name == "" {
			continue
		}
		known++
		if _, _, is := s.rhythm.Silence(&a.clock); is {
			silent = append(silent, s)
		}
	}
	together := len(silent) > max(fewSilent, known/silentShare)
	told := 0
	for _, s := range silent {
		if told < mostSilent && a.missing(b, s, together) {
			told++
		}
	}
}

// missing tells that a series has fallen silent, if that is worth a result. together says that many have.
func (a *analyzer) missing(b *stage.Batch, s *series, together bool) bool {
	silent, longest, _ := s.rhythm.Silence(&a.clock)
	score := novelty.Rare(float64(silent)/float64(longest), s.Age())
	if score < a.tells() {
		return false
	}
	about := &eventv1.Event{}
	if proto.Unmarshal([]byte(s.name), about) != nil {
		return false // a name that was restored from a damaged snapshot
	}
	s.rhythm.Tell()
	// One of several series of an entity and a metric ends when what tells them apart does: a route, a device, a container.
	f, ok := a.store.families.Peek(s.family)
	ended := together || ok && f.last-s.rhythm.Last() > int64(silent)/2
	made := a.results.missing(b, about, finding{
		kind: kindMissing, score: score, expected: s.mean, seen: s.Age(), value: s.flat.Last(),
		silent: silent, interval: s.rhythm.Interval(), last: s.rhythm.Last(),
	}, a.clock.Newest(), !ended)
	b.Produce(stage.NoParent, stage.Out, made)
	if !ended && outlives(made.GetEntity()) {
		a.insights.anomaly(b, a.clock.Newest(), made, false)
	}
	return true
}

// outlives says whether an object is there to stay. Pods come and go with every rollout, and their series with them: that is a result, and no
// insight.
func outlives(r *eventv1.EntityRef) bool {
	switch strings.ToLower(r.GetKind()) {
	case "pod", "container", "job", "replicaset":
		return false
	}
	return true
}

// smallStep is the part of its level that is a small step for a series which stood still. So is one, where it stood at a whole number.
const smallStep = 0.03

// small says whether a value is a small step of a series that stood still: one more replica, one error.
func small(value, expected float64) bool {
	step := smallStep * math.Abs(expected)
	const near = 1e-6 // a mean comes near to where the series stands, and seldom there
	if math.Abs(expected-math.Round(expected)) <= near*max(1, math.Abs(expected)) && value == math.Trunc(value) {
		step = max(step, 1+near*max(1, math.Abs(expected)))
	}
	return math.Abs(value-expected) <= step
}

// The kinds of findings, as Anomaly.kind says them.
const (
	kindNovelty  = "novelty"
	kindFlatline = "flatline"
	kindMissing  = "missing"
)

// finding is what was found, and all that a person needs to find it again.
type finding struct {
	kind            string
	score, expected float64
	seen            uint64 // values of the series

	// novelty: the other value of the pair that is new, see novelty.Detector.Seen
	lag         uint64
	coarse, far bool

	run, longest uint64 // flatline: values

	// missing
	silent, interval time.Duration
	last             int64 // Unix nanoseconds
	value            float64
}
