package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStage(t testing.TB, c config.Analyze) stage.Stage {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{
		Config: &config.StageConfig{
			Stage: "analyze", Pipeline: config.PipelineRef{Namespace: "default", Name: "p"}, Analyze: &c,
		},
		Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// value is the i-th value of a series, one every ten seconds.
func value(i int, pod, metric string, v float64) *eventv1.Event {
	return &eventv1.Event{
		Id: fmt.Sprintf("%s-%s-%d", pod, metric, i), Source: "/test", Type: "metric.sample",
		TimeUnixNano: uint64(start.Add(time.Duration(i) * 10 * time.Second).UnixNano()),
		Entity:       &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: pod},
		Signal:       &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: metric, Value: v}},
	}
}

// process runs events through the stage in batches and returns what it made, by type.
func process(t testing.TB, s stage.Stage, events []*eventv1.Event) map[string][]*eventv1.Event {
	t.Helper()
	out := map[string][]*eventv1.Event{}
	for len(events) > 0 {
		n := min(100, len(events))
		b := batch(t, events[:n])
		events = events[n:]
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			if b.Decision(i).Verdict != stage.Filter {
				t.Fatalf("event %s: %v, want filtered", b.Events[i].ID, b.Decision(i).Verdict)
			}
		}
		for _, p := range b.Produced() {
			out[p.Event.GetType()] = append(out[p.Event.GetType()], p.Event)
		}
	}
	return out
}

func batch(t testing.TB, events []*eventv1.Event) *stage.Batch {
	t.Helper()
	b := stagetest.Batch(t, events...)
	b.Now = start.AddDate(2, 0, 0)
	return b
}

// flushed are the insights that a flush makes.
func flushed(t testing.TB, s stage.Stage, now time.Time) (insights []*eventv1.Event) {
	t.Helper()
	b := &stage.Batch{}
	b.Reset(1)
	if err := s.(stage.Flusher).Flush(t.Context(), now, false, b); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.Produced() {
		insights = append(insights, p.Event)
	}
	return insights
}

// noise is a level with noise of one.
func noise(n int, level float64) []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	v := make([]float64, n)
	for i := range v {
		v[i] = level + r.NormFloat64()
	}
	return v
}

func seriesOf(pod, metric string, values []float64) []*eventv1.Event {
	events := make([]*eventv1.Event, len(values))
	for i, v := range values {
		events[i] = value(i, pod, metric, v)
	}
	return events
}

// planted is a series of n values with noise of one around a level, changed by plant.
func planted(n int, level float64, plant func(i int, v float64) float64) []float64 {
	values := noise(n, level)
	for i, v := range values {
		values[i] = plant(i, v)
	}
	return values
}

// TestAnomaly: what the stage tells of whole series; how well it does so is tested in package novelty.
func TestAnomaly(t *testing.T) {
	const n, at = 3000, 2500
	flat := make([]float64, n)
	for i := range flat {
		flat[i] = 42
	}
	jump := append(slices.Clone(flat), 60)
	slight := append(slices.Clone(flat), 42.001)
	for name, tc := range map[string]struct {
		values []float64
		want   []int // the values that are anomalies
	}{
		"noise": {noise(n, 100), nil},
		"spike": {planted(n, 100, func(i int, v float64) float64 {
			if i == at {
				return 200
			}
			return v
		}), []int{at}},
		"level shift": {planted(n, 100, func(i int, v float64) float64 {
			if i >= at {
				return v + 60
			}
			return v
		}), []int{at}},
		"flat":             {flat, nil},
		"flat, then jump":  {jump, []int{n}},
		"flat, then as is": {slight, nil}, // less than a cell of the grid
		"wave":             {planted(n, 100, func(i int, _ float64) float64 { return 100 + 20*math.Sin(float64(i)/30) }), nil},
		"young":            {planted(150, 100, func(i int, v float64) float64 { return v * math.Pow(-1000, float64(i%2)) }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, anomaliesAt(t, tc.values)); diff != "" {
				t.Errorf("anomalies at (-want +got):\n%s", diff)
			}
		})
	}
}

// anomaliesAt are the values of a series that are told.
func anomaliesAt(t *testing.T, values []float64) (at []int) {
	t.Helper()
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(6.0)}})
	for _, e := range process(t, s, seriesOf("a", "m", values))[TypeAnomaly] {
		var i int
		if _, err := fmt.Sscanf(e.GetAnomaly().GetEventId(), "a-m-%d", &i); err != nil {
			t.Fatal(err)
		}
		at = append(at, i)
	}
	return at
}

// TestEveryScore: with a threshold of 0 each value has a result with its score, and people are told what they are told by default.
func TestEveryScore(t *testing.T) {
	const n = 900
	values := planted(n, 100, func(i int, v float64) float64 {
		if i == n-1 {
			return 1000
		}
		return v
	})
	all := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(0.0)}}), seriesOf("a", "m", values))
	want := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}), seriesOf("a", "m", values))
	if len(all[TypeAnomaly]) != n {
		t.Fatalf("%d results of %d values", len(all[TypeAnomaly]), n)
	}
	if diff := cmp.Diff(want[TypeInsight], all[TypeInsight], protocmp.Transform()); diff != "" || len(want[TypeInsight]) != 1 {
		t.Errorf("%d insights; with all scores (-want +got):\n%s", len(want[TypeInsight]), diff)
	}
	var warned []*eventv1.Event
	scores := 0
	for i, e := range all[TypeAnomaly] {
		a := e.GetAnomaly()
		if a.GetValue() != values[i] || a.GetObservations() != uint64(i+1) || a.GetScore() < 0 || a.GetScore() > 16 {
			t.Errorf("value %d, %g: %v", i, values[i], a)
		}
		if a.GetScore() > 0 {
			scores++
		}
		attribute := e.GetAttributes()[len(e.GetAttributes())-1]
		if attribute.GetKey() != AttributeScore || attribute.GetDoubleValue() != a.GetScore() {
			t.Errorf("value %d: attribute %v, score %g", i, attribute, a.GetScore())
		}
		if e.GetSeverityNumber() == event.SeverityWarn {
			warned = append(warned, e)
		}
	}
	if diff := cmp.Diff(want[TypeAnomaly], warned, protocmp.Transform()); diff != "" {
		t.Errorf("anomalies (-want +got):\n%s", diff)
	}
	if scores < 50 {
		t.Errorf("%d values have a score above 0", scores)
	}
}

// TestFindingsExplainThemselves: value, expectation, number of values, and the pair that is new.
func TestFindingsExplainThemselves(t *testing.T) {
	wave := make([]float64, 4000)
	for i := range wave {
		wave[i] = 100 + 20*math.Sin(float64(i)/10) + float64(i%3)/10
	}
	dip := slices.Clone(wave) // it stands still where it has always moved
	for i := 3000; i < 3020; i++ {
		dip[i] = 100
	}
	spike := slices.Clone(wave)
	spike[3000] = 500
	frozen := slices.Clone(wave)
	for i := 3000; i < len(frozen); i++ {
		frozen[i] = frozen[2999]
	}
	for name, tc := range map[string]struct {
		values    []float64
		threshold float64
		kind      string
		body      string // the end of it
	}{
		"in range": {dip, 1, kindNovelty, `is 100, expected about \d+(\.\d+)? \(score \d+\.\d, new beside the value \d+ before\)$`},
		"far":      {spike, 5, kindNovelty, `is 500, expected about \d+(\.\d+)? \(score \d+\.\d, far outside of 3000 values before\)$`},
		"frozen":   {frozen, 5, kindFlatline, `has been exactly \d+(\.\d+)? for 100 values, before it never for more than 1 \(score 16\.0\)$`},
	} {
		t.Run(name, func(t *testing.T) {
			made := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: &tc.threshold}}), seriesOf("a", "m", tc.values))[TypeAnomaly]
			i := slices.IndexFunc(made, func(e *eventv1.Event) bool {
				return e.GetAnomaly().GetKind() == tc.kind && e.GetAnomaly().GetObservations() > 3000
			})
			if i < 0 {
				t.Fatalf("no %s in %v", tc.kind, made)
			}
			if body := made[i].GetBody(); !regexp.MustCompile("^m of pod shop/a " + tc.body).MatchString(body) {
				t.Errorf("body %q, want %s", body, tc.body)
			}
			if a := made[i].GetAnomaly(); tc.kind == kindNovelty && (a.GetLag() == 0 || a.GetScale() == "" || a.GetObservations() < 3001) {
				t.Errorf("the result does not say what is new: %v", a)
			}
		})
	}
}

// TestAnomalyBehindAnother: once the quiet is over, an anomaly is told however large the one before was, as long as it is not small beside it.
func TestAnomalyBehindAnother(t *testing.T) {
	for _, before := range []float64{200, 1000} {
		for _, after := range []int{301, 400, 900} {
			values := noise(10_000, 100)
			values[8000], values[8000+after] = before, 3000
			if at := anomaliesAt(t, values); !slices.Contains(at, 8000) || !slices.Contains(at, 8000+after) {
				t.Errorf("3000, %d values behind %g: anomalies at %v", after, before, at)
			}
		}
	}
}

// TestLevelIsLearned: a series that changed for good is the norm before it may be told again, however far it went.
func TestLevelIsLearned(t *testing.T) {
	for name, before := range map[string][]float64{"noise": noise(1000, 100), "nothing": make([]float64, 1000)} {
		for _, to := range []float64{160, 1e4} {
			values := append(slices.Clone(before), noise(1500, 100+to)...)
			if diff := cmp.Diff([]int{1000}, anomaliesAt(t, values)); diff != "" {
				t.Errorf("from %s to %g: anomalies at (-want +got):\n%s", name, to, diff)
			}
		}
	}
}

// TestSilence: a series that ends while others go on is told once, with the time of the others, and again when it has come back and ended anew.
func TestSilence(t *testing.T) {
	at := func(kind string, last int) (bodies []string, insights int) {
		s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
		for i := range 900 {
			b := stagetest.Batch(t, value(i, "stays", "m", float64(i%5)))
			if i < last {
				e := value(i, "a", "m", float64(i%7))
				e.Entity.Kind = kind
				e.Attributes = []*eventv1.KeyValue{stringOf("device", "sda")}
				b = stagetest.Batch(t, e, value(i, "stays", "m", float64(i%5)))
			}
			b.Now = every10s(i)
			if err := s.Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			made := flushed(t, s, every10s(i))
			for _, p := range b.Produced() {
				made = append(made, p.Event)
			}
			for _, e := range made {
				if e.GetAnomaly() != nil {
					bodies = append(bodies, e.GetBody())
					if got := time.Unix(0, int64(e.GetTimeUnixNano())); !got.Equal(every10s(i)) || e.GetAnomaly().GetKind() != kindMissing ||
						e.GetEntity().GetName() != "a" || e.GetSource() == "" || e.GetPartitionKey() == "" {
						t.Errorf("message %d: %v", i, e)
					}
				} else if e.GetInsight().GetRevision() == 1 {
					insights++
				}
			}
		}
		return bodies, insights
	}
	for kind, wantInsights := range map[string]int{"Node": 1, "Pod": 0} {
		bodies, insights := at(kind, 500)
		want := []string{"m of " + strings.ToLower(kind) + " shop/a{device=sda} has had no value for 1m0s, before it had one every 10s; the last one, 2, is of 13:23:10 (score 16.0)"}
		if diff := cmp.Diff(want, bodies); diff != "" || insights != wantInsights {
			t.Errorf("%s: %d insights, want %d; (-want +got):\n%s", kind, insights, wantInsights, diff)
		}
	}
	if bodies, _ := at("Node", 900); len(bodies) != 0 {
		t.Errorf("a series that goes on: %q", bodies)
	}
}

// TestSilenceOfMany: series that fall silent together have lost who brings them, and one whose family goes on has ended. Both are results, and no insights.
func TestSilenceOfMany(t *testing.T) {
	device := func(e *eventv1.Event, name string) *eventv1.Event {
		e.Attributes = []*eventv1.KeyValue{stringOf("device", name)}
		return e
	}
	for name, ending := range map[string]func(i int) []*eventv1.Event{
		"a collector stops": func(i int) (all []*eventv1.Event) {
			for n := range 20 {
				e := value(i, fmt.Sprint("node-", n), "m", float64(i%7))
				e.Entity.Kind = "Node"
				all = append(all, e)
			}
			return all
		},
		"one of three devices": func(i int) (all []*eventv1.Event) {
			e := value(i, "a", "m", float64(i%7))
			e.Entity.Kind = "Node"
			return []*eventv1.Event{device(e, "sda")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
			results := 0
			for i := range 900 {
				other := value(i, "a", "m", float64(i%5))
				other.Entity.Kind = "Node"
				events := []*eventv1.Event{device(other, "sdb")}
				if i < 500 {
					events = append(events, ending(i)...)
				}
				b := stagetest.Batch(t, events...)
				b.Now = every10s(i)
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				made := flushed(t, s, every10s(i))
				for _, p := range b.Produced() {
					made = append(made, p.Event)
				}
				for _, e := range made {
					if e.GetAnomaly() == nil {
						t.Fatalf("message %d: %v", i, e)
					}
					if results++; e.GetSeverityNumber() != event.SeverityInfo {
						t.Errorf("message %d: %s has severity %d", i, e.GetBody(), e.GetSeverityNumber())
					}
				}
			}
			if want := len(ending(0)); results != want {
				t.Errorf("%d results, want %d", results, want)
			}
		})
	}
}

// TestSmallSteps: one more replica is a result and no insight, also where the series stood elsewhere before.
func TestSmallSteps(t *testing.T) {
	var events []*eventv1.Event
	for i := range 6000 {
		v := 4.0
		switch {
		case i < 500:
			v = 3
		case i >= 5500:
			v = 5
		}
		events = append(events, value(i, "a", "replicas", v))
	}
	if out := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}), events); len(out[TypeAnomaly]) == 0 || len(out[TypeInsight]) != 0 {
		t.Errorf("%d results and %d insights, want some and none: %v", len(out[TypeAnomaly]), len(out[TypeInsight]), out[TypeInsight])
	}
}

// TestChosenAttributes: seriesBy says what tells series apart, however many values that has; nothing else does.
func TestChosenAttributes(t *testing.T) {
	for name, tc := range map[string]struct {
		by   []string
		want int
	}{
		"one":             {[]string{"path"}, 300},
		"of the resource": {[]string{"zone"}, 2},
		"both":            {[]string{"zone", "path"}, 300},
		"nobody has it":   {[]string{"other"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{SeriesBy: tc.by}, MaxSeries: 1000}).(*analyzer)
			var events []*eventv1.Event
			for i := range 600 {
				e := value(i, "a", "m", 1)
				e.Attributes = []*eventv1.KeyValue{stringOf("path", fmt.Sprint("/", i%300)), stringOf("device", fmt.Sprint(i%3))}
				e.Resource = []*eventv1.KeyValue{stringOf("zone", fmt.Sprint(i%2))}
				events = append(events, e)
			}
			process(t, s, events)
			if n := s.store.lru.Len(); n != tc.want {
				t.Errorf("%d series, want %d", n, tc.want)
			}
		})
	}
}

func TestTrend(t *testing.T) {
	ramp := func(slope float64) []float64 {
		v := noise(120, 100)
		for i := range v {
			v[i] += slope * float64(i)
		}
		return v
	}
	there := append(ramp(2), ramp(-2)...)
	for i := 120; i < len(there); i++ {
		there[i] += 240
	}
	for name, tc := range map[string]struct {
		values []float64
		want   []string
	}{
		"rising":       {ramp(1), []string{"rising"}},
		"falling":      {ramp(-0.5), []string{"falling"}},
		"noise":        {noise(600, 100), nil},
		"up then down": {there, []string{"rising", "falling"}},
		"constant":     {make([]float64, 200), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{Window: config.Duration(10 * time.Minute), MinPoints: 12}})
			var got []string
			for _, e := range process(t, s, seriesOf("a", "m", tc.values))[TypeTrend] {
				got = append(got, e.GetTrend().GetDirection())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("trends (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTrendBehindABreak: a trend that was told does not keep one from being told that begins when all points of
// before are gone. So tells a rebuilt instance, which knows nothing of before.
func TestTrendBehindABreak(t *testing.T) {
	leak := func(from int) (events []*eventv1.Event) {
		for i, v := range noise(120, 100) {
			events = append(events, value(from+i, "a", "m", v+2*float64(i)))
		}
		return events
	}
	for name, before := range map[string][]*eventv1.Event{
		"nothing":                            nil,
		"three hours of silence":             leak(-1200),
		"a clock that was three hours ahead": leak(1200),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{}})
			process(t, s, before)
			if got := process(t, s, leak(0))[TypeTrend]; len(got) != 1 {
				t.Errorf("%d trends, want 1", len(got))
			}
		})
	}
}

// TestCounter: what is looked at of a counter is how fast it grows.
func TestCounter(t *testing.T) {
	steady := noise(900, 100)
	burst := slices.Clone(steady)
	burst[700] = 1000
	faster := slices.Clone(steady)
	for i := range faster {
		faster[i] += float64(i)
	}
	for name, tc := range map[string]struct {
		grows           []float64
		reset           int // the value that begins at nothing again
		late            int // the value that comes after the next one
		change          func(i int, e *eventv1.Event)
		anomaly, trends []string
	}{
		"steady": {grows: steady},
		"reset":  {grows: steady, reset: 700},
		"burst":  {grows: burst, anomaly: []string{"m of pod shop/a is 100 By/s, expected about 9.993 By/s (score 9.2, far outside of 699 values before)"}},
		"faster": {grows: faster, trends: []string{"m of pod shop/a is rising by 0.634 By/s a minute"}},
		"without times": {
			grows: burst, change: func(_ int, e *eventv1.Event) { e.TimeUnixNano = 0 },
			anomaly: []string{"m of pod shop/a is 1000 By, expected about 99.93 By (score 9.2, far outside of 699 values before)"},
		},
		"one time is missing": {grows: steady, change: func(i int, e *eventv1.Event) {
			if i == 700 {
				e.TimeUnixNano = 0
			}
		}},
		"out of order": {grows: steady, late: 700},
		"once an hour": {
			grows: burst, change: func(i int, e *eventv1.Event) {
				e.TimeUnixNano = uint64(start.Add(time.Duration(i) * time.Hour).UnixNano())
			},
			anomaly: []string{"m of pod shop/a is 0.2778 By/s, expected about 0.02776 By/s (score 9.2, far outside of 699 values before)"},
		},
		"limit": {grows: faster, trends: []string{"m of pod shop/a is rising by 0.634 By/s a minute"}, change: func(_ int, e *eventv1.Event) {
			e.Attributes = []*eventv1.KeyValue{{Key: LimitAttribute, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: 50}}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			total := 0.0
			var events []*eventv1.Event
			for i, v := range tc.grows {
				if total += v; tc.reset > 0 && i == tc.reset {
					total = v
				}
				e := value(i, "a", "m", total)
				e.GetMetric().Kind, e.GetMetric().Unit = "counter", "By"
				if tc.change != nil {
					tc.change(i, e)
				}
				events = append(events, e)
			}
			if n := tc.late; n > 0 {
				events[n], events[n+1] = events[n+1], events[n]
			}
			out := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{}}), events)
			for kind, want := range map[string][]string{TypeAnomaly: tc.anomaly, TypeTrend: tc.trends} {
				var got []string
				for _, e := range out[kind] {
					got = append(got, e.GetBody())
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", kind, diff)
				}
			}
			if n := len(out[TypeInsight]); n != len(tc.anomaly) {
				t.Errorf("%d insights, want %d", n, len(tc.anomaly))
			}
		})
	}
}

// TestMannKendall compares with a worked example: 1..10 without ties has S = 45,
// Var = 125, z = 44/sqrt(125) = 3.935, p = 8.3e-5, slope 1.
func TestMannKendall(t *testing.T) {
	var p points
	for i := range 10 {
		p.push(float64(i+1), parts)
	}
	var l line
	r := p.slope(&l)
	if !p.significant(&l, &r) || !r.large() {
		t.Errorf("it is no trend")
	}
	r.low, r.high = r.interval(&l)
	if math.Abs(r.p-8.3e-5) > 1e-6 || r.slope != 1 || r.low != 1 || r.high != 1 || r.scatter > 1e-9 {
		t.Errorf("got %+v", r)
	}
	p = points{}
	for _, v := range []float64{1, 2, 2, 3, 3, 3} {
		p.push(v, parts)
	}
	if p.ties != 2*1*9+3*2*11 {
		t.Errorf("ties = %d", p.ties)
	}
}

// TestSlopeIsInTime: one unit a second is one unit a second, however far values lie apart.
func TestSlopeIsInTime(t *testing.T) {
	for name, every := range map[string]time.Duration{"more than one a span": time.Second, "one a span": 10 * time.Second, "not in every span": 30 * time.Second, "at odds with spans": 13 * time.Second} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{Window: config.Duration(10 * time.Minute), MinPoints: 12}})
			var events []*eventv1.Event
			for after := time.Duration(0); after < 30*time.Minute; after += every {
				e := value(int(after/time.Second), "a", "m", 100+after.Seconds())
				e.TimeUnixNano = uint64(start.Add(after).UnixNano())
				events = append(events, e)
			}
			got := process(t, s, events)[TypeTrend]
			if len(got) != 1 {
				t.Fatalf("%d trends, want 1", len(got))
			}
			if tr := got[0].GetTrend(); math.Abs(tr.GetSlopePerSecond()-1) > 0.01 || tr.GetSlopeLow() > 1.01 || tr.GetSlopeHigh() < 0.99 {
				t.Errorf("slope %g (%g to %g), want 1", tr.GetSlopePerSecond(), tr.GetSlopeLow(), tr.GetSlopeHigh())
			}
		})
	}
}

func TestMedian(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 200 {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(r.IntN(1 + n/2))
		}
		sorted := slices.Sorted(slices.Values(v))
		want := 0.0
		if n > 0 {
			want = (sorted[(n-1)/2] + sorted[n/2]) / 2
		}
		if got := median(v); got != want {
			t.Fatalf("median of %v is %g, want %g", sorted, got, want)
		}
	}
	median([]float64{math.NaN(), 1, math.Inf(1), math.NaN(), math.Inf(-1), 2}) // it ends
}

// TestKendallIsKeptUpToDate compares S, ties and length with what the points say.
func TestKendallIsKeptUpToDate(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var p points
	for range 2000 {
		p.push(float64(r.IntN(20)), parts/2+r.IntN(70)/60*r.IntN(60*parts)+r.IntN(3*parts))
		s, length, equal := 0, 0, map[float32]int{}
		for i, v := range p.values[:p.n] {
			if i > 0 {
				length += int(p.gaps[i])
			}
			for _, w := range p.values[i+1 : p.n] {
				s += int(sign(float64(w - v)))
			}
			equal[v]++
		}
		ties := 0
		for _, n := range equal {
			ties += n * (n - 1) * (2*n + 5)
		}
		if p.s != s || p.ties != ties || p.length != length || length >= maxPoints*parts {
			t.Fatalf("S %d, ties %d, length %d; want %d, %d, %d", p.s, p.ties, p.length, s, ties, length)
		}
	}
}

// TestOneWrongTimeDoesNotEndASeries: a value from next year comes in between.
func TestOneWrongTimeDoesNotEndASeries(t *testing.T) {
	s := newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{}})
	var values []float64
	for i := range 120 {
		values = append(values, 100+float64(i))
	}
	events := seriesOf("a", "m", values)
	events[5].TimeUnixNano = uint64(start.AddDate(1, 0, 0).UnixNano())
	if got := process(t, s, events)[TypeTrend]; len(got) != 1 {
		t.Errorf("%d trends, want 1", len(got))
	}
}

// TestMemoryPerSeries holds the documented figure.
func TestMemoryPerSeries(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	usual := "k8s.pod.memory.working_set"
	for name, tc := range map[string]struct {
		metric         string
		anomaly, trend bool
		most           float64
	}{
		"anomalies":  {usual, true, false, 1.75 * 1024},
		"trends":     {usual, false, true, 1024},
		"both":       {usual, true, true, 2.25 * 1024},
		"long names": {strings.Repeat("m", 10_000), true, true, 2.25 * 1024},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20_000
			before := heap()
			st := newStore(settings{anomaly: tc.anomaly, trend: tc.trend}, n, nil)
			for i := range n {
				e := &event.Event{Entity: event.EntityRef{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("checkout-6d4cf56db6-%05d", i)}}
				st.of(e, tc.metric, 0, 0)
			}
			per := float64(heap()-before) / n
			runtime.KeepAlive(st)
			if per > tc.most {
				t.Errorf("a series takes %.0f bytes, documented are %.0f", per, tc.most)
			}
			t.Logf("%.0f bytes per series", per)
		})
	}
}

// leak is a series that rises by half a unit with every value towards a limit.
func leak(n int, limit float64) (events []*eventv1.Event) {
	for i, v := range noise(n, 100) {
		e := value(i, "a", "memory", v+0.5*float64(i))
		e.Attributes = []*eventv1.KeyValue{{Key: LimitAttribute, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: limit}}}
		events = append(events, e)
	}
	return events
}

func TestTrendToLimitIsAnInsight(t *testing.T) {
	for name, tc := range map[string]struct {
		n     int // values
		limit float64
		want  []string // about when the insight says that the limit is reached
	}{
		"near when the trend begins": {100, 150, []string{"13m"}},
		"two hours away then":        {720, 100 + 0.5*750, []string{"1h0m0s (90 %: "}},
		"five hours away then":       {1800, 100 + 0.5*1830, []string{"58m0s (90 %: "}},
		"never near":                 {200, 1000, nil},
		"passed":                     {100, 50, nil},
		"no number":                  {100, math.NaN(), nil},
		"without end":                {100, math.Inf(1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			out := process(t, newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{}}), leak(tc.n, tc.limit))
			if len(out[TypeTrend]) != 1 {
				t.Errorf("%d trends, want 1", len(out[TypeTrend]))
			}
			if len(out[TypeInsight]) != len(tc.want) {
				t.Fatalf("%d insights, want %d", len(out[TypeInsight]), len(tc.want))
			}
			for i, e := range out[TypeInsight] {
				in := e.GetInsight()
				if in.GetTitle() != "memory of pod shop/a nears its limit" || len(in.GetEvidence()) != 1 ||
					!strings.Contains(in.GetSummary(), "is reached in "+tc.want[i]) {
					t.Errorf("got %v", in)
				}
				if a := e.GetAttributes(); len(a) < 2 || a[0].GetKey() != attributeLimit || math.Abs(a[0].GetDoubleValue()-tc.limit) > 1e-9 || a[1].GetKey() != attributeMiddle {
					t.Errorf("got attributes %v", a)
				}
			}
		})
	}
}

func TestAnomaliesOfOneWorkloadAreOneInsight(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
	var events []*eventv1.Event
	for i, v := range noise(800, 100) {
		for _, pod := range []string{"a", "b", "c", "d"} {
			x := v
			if i == 799 {
				x = 1000
			}
			e := value(i, pod, "latency", x)
			e.Related = []*eventv1.EntityRef{{Kind: "Deployment", Namespace: "shop", Name: "checkout", Role: "workload"}}
			events = append(events, e)
		}
	}
	insights := process(t, s, events)[TypeInsight]
	if len(insights) != 1 || insights[0].GetInsight().GetStatus() != "open" {
		t.Errorf("told at once: %v, want one that is open", insights)
	}
	insights = append(insights, flushed(t, s, start.AddDate(2, 0, 0).Add(updateEvery))...)
	insights = append(insights, flushed(t, s, start.AddDate(2, 0, 0).Add(2*updateEvery))...) // nothing new
	ids := map[string]bool{}
	for _, e := range insights {
		ids[e.GetId()] = true
		if e.GetInsight().GetRootCause().GetName() != "checkout" {
			t.Errorf("root cause is %v", e.GetInsight().GetRootCause())
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d insights %v, want 1", len(ids), insights)
	}
	if len(insights) != 2 {
		t.Errorf("%d revisions, want 2", len(insights))
	}
	last := insights[len(insights)-1].GetInsight()
	if last.GetCount() != 4 || len(last.GetEvidence()) != 4 || last.GetStatus() != "updated" {
		t.Errorf("last revision: %v", last)
	}
}

// TestEpisodesEnd: anomalies more than an hour apart are an insight each, whatever the clocks say.
func TestEpisodesEnd(t *testing.T) {
	const every, spikes = 400, 8
	for name, at := range map[string]func(i int, at uint64) uint64{
		"right clock":   func(_ int, at uint64) uint64 { return at },
		"without times": func(int, uint64) uint64 { return 0 },
		"the first of a clock that is ahead": func(i int, at uint64) uint64 {
			if i == every {
				return uint64(start.AddDate(1, 0, 0).UnixNano())
			}
			return at
		},
		"the last one first": func(_ int, at uint64) uint64 { return uint64(2*start.UnixNano()) - at },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
			ids := map[string]bool{}
			for i, v := range noise(spikes*every+1, 100) {
				if i > 0 && i%every == 0 {
					v = math.Pow10(3 + i/every)
				}
				e := value(i, "a", "m", v)
				e.TimeUnixNano = at(i, e.GetTimeUnixNano())
				b := batch(t, []*eventv1.Event{e})
				b.Now = start.Add(time.Duration(i) * 10 * time.Second)
				if err := s.Process(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				for _, p := range b.Produced() {
					if in := p.Event.GetInsight(); in != nil {
						ids[p.Event.GetId()] = true
						if in.GetLastSeenUnixNano() < in.GetFirstSeenUnixNano() {
							t.Errorf("seen from %d to %d", in.GetFirstSeenUnixNano(), in.GetLastSeenUnixNano())
						}
					}
				}
			}
			if len(ids) != spikes {
				t.Errorf("%d insights, want %d", len(ids), spikes)
			}
		})
	}
}

// TestStrongestAnomalyIsAnInsight: also where the threshold leaves no score that is strong above it.
func TestStrongestAnomalyIsAnInsight(t *testing.T) {
	for _, threshold := range []float64{6, 13, 14, 16} {
		values := make([]float64, 2001)
		values[2000] = 1e6
		out := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: &threshold}}), seriesOf("a", "m", values))
		if len(out[TypeAnomaly]) != 1 || len(out[TypeInsight]) != 1 {
			t.Errorf("threshold %g: %d anomalies and %d insights, want 1 and 1", threshold, len(out[TypeAnomaly]), len(out[TypeInsight]))
		}
	}
}

// TestClustersAreApart: what has the same name in two clusters is two series, and two episodes.
func TestClustersAreApart(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
	var events []*eventv1.Event
	for i, v := range noise(600, 100) {
		for n, cluster := range []string{"eu", "us", ""} {
			e := value(i, "a", "m", v+1000*float64(n))
			e.Entity.Cluster = cluster
			e.Related = []*eventv1.EntityRef{{Kind: "Deployment", Namespace: "shop", Name: "checkout", Role: "workload"}}
			if i == 500 {
				e.GetMetric().Value = 1e6
			}
			events = append(events, e)
		}
	}
	out := process(t, s, events)
	var got []string
	for _, e := range out[TypeInsight] {
		if in := e.GetInsight(); in.GetRevision() == 1 {
			got = append(got, e.GetSubject())
		}
	}
	want := []string{"eu/Pod/shop/a/m", "us/Pod/shop/a/m", "Pod/shop/a/m"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("insights about (-want +got):\n%s", diff)
	}
	if n := s.(*analyzer).store.lru.Len(); n != 3 {
		t.Errorf("%d series, want 3", n)
	}
}

func TestBadValues(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{}})
	events := []*eventv1.Event{
		{Id: "no metric"},
		value(0, "a", "", 1), value(1, "a", "m", math.NaN()), value(2, "a", "m", math.Inf(1)),
		value(3, "a", "m", math.MaxFloat64), value(4, "a", "m", -math.MaxFloat64),
		{Id: "no entity", Signal: &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "m"}}},
		value(5, strings.Repeat("x", 1<<16), "m", 1),
	}
	for range 60 {
		events = append(events, value(6, "a", "m", 1))
	}
	for _, made := range process(t, s, events) {
		for _, e := range made {
			if a := e.GetAnomaly(); a != nil && (math.IsNaN(a.GetScore()) || math.IsInf(a.GetScore(), 0)) {
				t.Errorf("score of %s is %g", a.GetEventId(), a.GetScore())
			}
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, MaxSeries: 10}).(*analyzer)
	var events []*eventv1.Event
	for i := range 100 {
		events = append(events, value(i, fmt.Sprint("pod-", i), "m", 1))
	}
	process(t, s, events)
	if n := s.store.lru.Len(); n != 10 {
		t.Errorf("%d series remembered, want 10", n)
	}
}

// TestEpisodesAreBounded: what is forgotten before its time is counted, what is over is not.
func TestEpisodesAreBounded(t *testing.T) {
	metrics := prometheus.NewRegistry()
	in, b := newInsights("", "", settings{threshold: 6}, 3, metrics), batch(t, nil)
	for i := range 5 {
		in.begin(b, fmt.Sprint(i), nil, int64(i)*int64(time.Second))
	}
	in.begin(b, "later", nil, int64(time.Hour))
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := families[0].GetMetric()[0].GetCounter().GetValue(); in.open.Len() != 3 || n != 2 {
		t.Errorf("%d episodes open, %g forgotten early; want 3 and 2", in.open.Len(), n)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		config config.Analyze
		want   string
	}{
		"threshold": {config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(17.0)}}, "analyze.anomaly.threshold: is 17, must be between 0 and 16"},
		"below 0":   {config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(-1.0)}}, "analyze.anomaly.threshold: is -1, must be between 0 and 16"},
		"no number": {config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(math.NaN())}}, "analyze.anomaly.threshold: is NaN, must be between 0 and 16"},
		"key twice": {config.Analyze{Anomaly: &config.AnalyzeAnomaly{SeriesBy: []string{"a", "b", "a"}}}, `analyze.anomaly.seriesBy[2]: "a" is there twice`},
		"no key":    {config.Analyze{Anomaly: &config.AnalyzeAnomaly{SeriesBy: []string{""}}}, "analyze.anomaly.seriesBy[0]: has 0 bytes, must have 1 to 64"},
		"keys":      {config.Analyze{Anomaly: &config.AnalyzeAnomaly{SeriesBy: strings.Split("abcdefghi", "")}}, "analyze.anomaly.seriesBy: has 9 attributes, at most 8"},
		"window":    {config.Analyze{Trend: &config.AnalyzeTrend{Window: 1}}, "analyze.trend.window: is 1ns, at least 1s"},
		"points":    {config.Analyze{Trend: &config.AnalyzeTrend{MinPoints: 65}}, "analyze.trend.minPoints: is 65, must be between 4 and 64"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := settingsOf(&tc.config); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// BenchmarkProcess: every value ends a span, which is the worst that trends cost. In a walk
// most spans end with a test of all slopes.
func BenchmarkProcess(b *testing.B) {
	walk, at := noise(1<<15, 0), 0.0
	for i, v := range walk {
		at += v
		walk[i] = 1000 + at
	}
	anomaly, trend := &config.AnalyzeAnomaly{}, &config.AnalyzeTrend{}
	for name, tc := range map[string]struct {
		config config.Analyze
		values []float64
	}{
		"anomaly":        {config.Analyze{Anomaly: anomaly}, noise(1<<15, 100)},
		"trend of noise": {config.Analyze{Trend: trend}, noise(1<<15, 100)},
		"trend of walks": {config.Analyze{Trend: trend}, walk},
		"both of noise":  {config.Analyze{Anomaly: anomaly, Trend: trend}, noise(1<<15, 100)},
	} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, tc.config)
			// A batch holds a value of each of 64 series; each goes through 512 values to and fro.
			var batches []*stage.Batch
			for i := range 512 {
				var events []*eventv1.Event
				for n := range 64 {
					events = append(events, value(i, fmt.Sprint("pod-", n), "m", tc.values[n*512+i]))
				}
				batches = append(batches, batch(b, events))
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				in := batches[min(n%1024, 1023-n%1024)]
				n++
				for i := range in.Events {
					in.Events[i].Time = start.UnixNano() + int64(n)*int64(10*time.Second)
				}
				in.Reset(1)
				if err := s.Process(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/event")
		})
	}
}
