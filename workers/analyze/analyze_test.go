package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

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

func TestAnomaly(t *testing.T) {
	spike := noise(600, 100)
	spike[500] = 200
	level := noise(600, 100)
	for i := 500; i < len(level); i++ {
		level[i] += 60
	}
	flat := make([]float64, 200)
	for i := range flat {
		flat[i] = 42
	}
	jump := append(append([]float64{}, flat...), 60)
	byOne := append(append([]float64{}, flat...), 43)        // the smallest step of whole numbers
	step := append(append([]float64{}, flat...), 42.1, 42.1) // by a quarter of a percent
	wave := make([]float64, 2000)
	for i := range wave {
		wave[i] = 100 + 20*math.Sin(float64(i)/30)
	}
	for name, tc := range map[string]struct {
		values []float64
		at     []int // the values that are anomalies
	}{
		"noise":          {noise(5000, 100), nil},
		"spike":          {spike, []int{500}},
		"level shift":    {level, []int{500}},
		"flat":           {flat, nil},
		"flat then jump": {jump, []int{200}},
		"flat then step": {step, nil},
		"flat then one":  {byOne, nil},
		"wave":           {wave, nil},
		"short":          {[]float64{1, 1000, 1, -1000}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.at, anomaliesAt(t, 30, tc.values)); diff != "" {
				t.Errorf("anomalies at (-want +got):\n%s", diff)
			}
		})
	}
}

// anomaliesAt are the values of a series that are told.
func anomaliesAt(t *testing.T, warmup int, values []float64) (at []int) {
	t.Helper()
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: 6, Warmup: warmup}})
	for _, e := range process(t, s, seriesOf("a", "m", values))[TypeAnomaly] {
		var i int
		if _, err := fmt.Sscanf(e.GetAnomaly().GetEventId(), "a-m-%d", &i); err != nil {
			t.Fatal(err)
		}
		at = append(at, i)
	}
	return at
}

// TestAnomalyBehindAnother: once the quiet is over, an anomaly is told however large the one before was.
func TestAnomalyBehindAnother(t *testing.T) {
	for _, before := range []float64{200, 1e6, 1e12} {
		for _, after := range []int{181, 200, 300, 900} {
			values := noise(2000, 100)
			values[500], values[500+after] = before, 200
			if diff := cmp.Diff([]int{500, 500 + after}, anomaliesAt(t, 30, values)); diff != "" {
				t.Errorf("200 behind %g: anomalies at (-want +got):\n%s", before, diff)
			}
		}
	}
}

// TestLevelIsLearned: a series that changed for good is the norm before it may be told again, however far it went.
func TestLevelIsLearned(t *testing.T) {
	for name, before := range map[string][]float64{"noise": noise(500, 100), "nothing": make([]float64, 500)} {
		for _, to := range []float64{160, 1e4, 1e9} {
			values := append(slices.Clone(before), noise(1500, 100+to)...)
			if diff := cmp.Diff([]int{500}, anomaliesAt(t, 30, values)); diff != "" {
				t.Errorf("from %s to %g: anomalies at (-want +got):\n%s", name, to, diff)
			}
		}
	}
}

// TestFirstDeviationIsNotTheNorm: however far the first value that a tail learns is out, later ones are seen.
func TestFirstDeviationIsNotTheNorm(t *testing.T) {
	for _, warmup := range []int{2, 3, 4, 5, 10, 30} {
		values := noise(6000, 0)
		values[1000], values[5000] = 100, 100
		at := slices.DeleteFunc(anomaliesAt(t, warmup, values), func(i int) bool { return i < 100 }) // while it is young
		if diff := cmp.Diff([]int{1000, 5000}, at); diff != "" {
			t.Errorf("warmup %d: anomalies at (-want +got):\n%s", warmup, diff)
		}
	}
	for first := 13; first < 18; first++ {
		values := make([]float64, 10_000)
		values[first] = 5
		for i := 30; i < len(values); i += 3 {
			values[i] = 5
		}
		values[5000], values[9000] = 5e4, 5e7
		at := slices.DeleteFunc(anomaliesAt(t, 30, values), func(i int) bool { return i < 100 })
		if diff := cmp.Diff([]int{5000, 9000}, at); diff != "" {
			t.Errorf("zeros before value %d: anomalies at (-want +got):\n%s", first, diff)
		}
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
	steady := noise(300, 100)
	burst := slices.Clone(steady)
	burst[200] = 1000
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
		"reset":  {grows: steady, reset: 200},
		"burst":  {grows: burst, anomaly: []string{"m of pod shop/a is 100 By/s, expected about 9.989 By/s (score 16.0)"}},
		"faster": {grows: faster, trends: []string{"m of pod shop/a is rising by 0.634 By/s a minute"}},
		"without times": {
			grows: burst, change: func(_ int, e *eventv1.Event) { e.TimeUnixNano = 0 },
			anomaly: []string{"m of pod shop/a is 1000 By, expected about 99.89 By (score 16.0)"},
		},
		"one time is missing": {grows: steady, change: func(i int, e *eventv1.Event) {
			if i == 200 {
				e.TimeUnixNano = 0
			}
		}},
		"out of order": {grows: steady, late: 200},
		"once an hour": {
			grows: burst, change: func(i int, e *eventv1.Event) {
				e.TimeUnixNano = uint64(start.Add(time.Duration(i) * time.Hour).UnixNano())
			},
			anomaly: []string{"m of pod shop/a is 0.2778 By/s, expected about 0.02775 By/s (score 16.0)"},
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
	for name, metric := range map[string]string{"usual names": "k8s.pod.memory.working_set", "long names": strings.Repeat("m", 10_000)} {
		t.Run(name, func(t *testing.T) {
			const n = 20_000
			before := heap()
			st := newStore(n, nil)
			for i := range n {
				e := &event.Event{Entity: event.EntityRef{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("checkout-6d4cf56db6-%05d", i)}}
				st.of(e, metric, 0)
			}
			per := float64(heap()-before) / n
			runtime.KeepAlive(st)
			if per > 1024 {
				t.Errorf("a series takes %.0f bytes, documented is 1 KiB", per)
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
		"near when the trend begins": {100, 150, []string{"10m45s to 22m0s"}},
		"two hours away then":        {720, 100 + 0.5*750, []string{"57m"}},
		"five hours away then":       {1800, 100 + 0.5*1830, []string{"58m"}},
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
			}
		})
	}
}

func TestAnomaliesOfOneWorkloadAreOneInsight(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
	var events []*eventv1.Event
	for i, v := range noise(400, 100) {
		for _, pod := range []string{"a", "b", "c", "d"} {
			x := v
			if i == 399 {
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
	for _, threshold := range []float64{6, 13, 14, maxScore} {
		values := noise(201, 100)
		values[200] = 1e6
		out := process(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: threshold}}), seriesOf("a", "m", values))
		if len(out[TypeAnomaly]) != 1 || len(out[TypeInsight]) != 1 {
			t.Errorf("threshold %g: %d anomalies and %d insights, want 1 and 1", threshold, len(out[TypeAnomaly]), len(out[TypeInsight]))
		}
	}
}

// TestClustersAreApart: what has the same name in two clusters is two series, and two episodes.
func TestClustersAreApart(t *testing.T) {
	s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
	var events []*eventv1.Event
	for i, v := range noise(300, 100) {
		for n, cluster := range []string{"eu", "us", ""} {
			e := value(i, "a", "m", v+1000*float64(n))
			e.Entity.Cluster = cluster
			e.Related = []*eventv1.EntityRef{{Kind: "Deployment", Namespace: "shop", Name: "checkout", Role: "workload"}}
			if i == 200 {
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
		"threshold": {config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: 17}}, "analyze.anomaly.threshold: is 17, must be between 0 and 16"},
		"warmup":    {config.Analyze{Anomaly: &config.AnalyzeAnomaly{Warmup: 1}}, "analyze.anomaly.warmup: is 1, at least 2"},
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
