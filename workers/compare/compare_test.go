package compare

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func conf(change func(*config.Compare)) *config.StageConfig {
	c := &config.Compare{
		Control: "strict", Mode: config.ExperimentSplit, Outcome: "event.severity >= 13", Interval: config.Duration(time.Minute),
		EffectPercent: 10, FalseAlarmPercent: 5,
	}
	if change != nil {
		change(c)
	}
	return &config.StageConfig{
		Kind: config.KindCompare, Stage: "verdict", Pipeline: config.PipelineRef{Namespace: "shop", Name: "ab"}, Compare: c,
		Inputs: []config.Input{{From: "strict/out"}, {From: "loose/out"}},
	}
}

func made(t testing.TB, c *config.StageConfig) *comparer {
	t.Helper()
	s, err := NewFactory().New(stage.Settings{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*comparer)
}

// world feeds a stage.
type world struct {
	t    testing.TB
	c    *comparer
	now  time.Time
	told []*eventv1.Event
}

func start(t testing.TB, c *config.StageConfig) *world {
	return &world{t: t, c: made(t, c), now: time.Unix(1_700_000_000, 0).Truncate(time.Minute)}
}

// give has a variant answer some events, in one message.
func (w *world) give(variant int, events ...*eventv1.Event) *stage.Batch {
	w.t.Helper()
	b := stagetest.Batch(w.t, events...)
	b.Now = w.now
	for i := range b.Events {
		b.Events[i].Origin.Input = variant
	}
	if err := w.c.Process(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// pass lets time pass, and returns what was told.
func (w *world) pass(d time.Duration, final bool) (told []*eventv1.Event) {
	w.t.Helper()
	w.now = w.now.Add(d)
	b := &stage.Batch{}
	b.Reset(1)
	if err := w.c.Flush(w.t.Context(), w.now, final, b); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range b.Produced() {
		told = append(told, p.Event)
	}
	w.told = append(w.told, told...)
	return told
}

// answer is what a variant makes of event n of a key.
func answer(n int, key string, outcome bool) *eventv1.Event {
	e := &eventv1.Event{Id: fmt.Sprint(n), Source: "/s", PartitionKey: key}
	if outcome {
		e.SeverityNumber = 17
	}
	return e
}

func attribute(t testing.TB, e *eventv1.Event, name string) any {
	t.Helper()
	for _, a := range e.GetAttributes() {
		if a.GetKey() != name {
			continue
		}
		switch v := a.GetValue().(type) {
		case *eventv1.KeyValue_IntValue:
			return v.IntValue
		case *eventv1.KeyValue_DoubleValue:
			return v.DoubleValue
		case *eventv1.KeyValue_BoolValue:
			return v.BoolValue
		}
	}
	t.Fatalf("no attribute %s in %s: %v", name, e.GetType(), e.GetBody())
	return nil
}

// of are the events of a type.
func of(all []*eventv1.Event, kind string) (some []*eventv1.Event) {
	for _, e := range all {
		if e.GetType() == kind {
			some = append(some, e)
		}
	}
	return some
}

// TestSplit: two variants with different rates are told apart, with the interval around the true difference.
func TestSplit(t *testing.T) {
	w := start(t, conf(nil))
	lot := rand.New(rand.NewPCG(1, 1))
	n := 0
	for range 10 {
		for range 3000 {
			variant := n % 2
			w.give(variant, answer(n, fmt.Sprint("key-", n), lot.Float64() < []float64{0.20, 0.25}[variant]))
			n++
		}
		w.pass(time.Minute, false)
	}
	reports, insights := of(w.told, TypeReport), of(w.told, TypeInsight)
	if len(reports) != 10 || len(insights) != 10 {
		t.Fatalf("%d reports, %d revisions of insights, want 10 of each", len(reports), len(insights))
	}
	last := reports[9]
	if got := attribute(t, last, "strict.events").(int64) + attribute(t, last, "loose.events").(int64); got != int64(n) {
		t.Errorf("%d events counted, %d given", got, n)
	}
	low, high := attribute(t, last, "loose.difference-low").(float64), attribute(t, last, "loose.difference-high").(float64)
	if low <= 0 || low > 0.05 || high < 0.05 || attribute(t, last, "loose.significant") != true {
		t.Errorf("a difference of %.3f to %.3f, want one around 0.05: %s", low, high, last.GetBody())
	}
	insight := insights[9]
	if insight.GetSeverityNumber() != severityDecided || !strings.HasPrefix(insight.GetBody(), "loose has the outcome more often than strict: 2") {
		t.Errorf("the insight has severity %d and says: %s", insight.GetSeverityNumber(), insight.GetBody())
	}
	for i, e := range insights {
		if e.GetId() != insight.GetId() || e.GetInsight().GetRevision() != uint32(i+1) {
			t.Errorf("revision %d: id %s revision %d", i+1, e.GetId(), e.GetInsight().GetRevision())
		}
	}
}

// TestBusyKeys: keys whose events are all alike are few observations, however many events they make.
func TestBusyKeys(t *testing.T) {
	found := 0
	for run := range 60 {
		w := start(t, conf(nil))
		lot := rand.New(rand.NewPCG(7, uint64(run)))
		for key := range 120 {
			outcome := lot.Float64() < 0.3 // the key decides, not the variant
			for n := range 50 {
				w.give(key%2, answer(n, fmt.Sprint(run, "-", key), outcome))
			}
		}
		reports := of(w.pass(time.Minute, false), TypeReport)
		if attribute(t, reports[0], "loose.significant") == true {
			found++
		}
	}
	if found > 6 {
		t.Errorf("%d of 60 experiments without a difference find one, want 3 or so at most", found)
	}
}

// TestMirror: events that both variants answer are compared one by one; what one of them never answers is counted.
func TestMirror(t *testing.T) {
	w := start(t, conf(func(c *config.Compare) { c.Mode = config.ExperimentMirror }))
	for n := range 1000 {
		key := fmt.Sprint("key-", n)
		w.give(0, answer(n, key, n%10 == 0))
		if n%100 != 50 {
			w.give(1, answer(n, key, n%10 == 0 || n%20 == 5))
		}
	}
	report := of(w.pass(2*time.Minute, true), TypeReport)[0]
	for name, want := range map[string]any{
		"loose.pairs": int64(990), "unmatched": int64(10), "loose.agreement": 940.0 / 990, "strict.events": int64(1000), "loose.events": int64(990),
	} {
		if got := attribute(t, report, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if attribute(t, report, "loose.significant") != true { // 50 of 50 that differ, differ in the same direction
		t.Error(report.GetBody())
	}
}

// TestScoresAndLatency are told as quantiles.
func TestScoresAndLatency(t *testing.T) {
	w := start(t, conf(func(c *config.Compare) { c.Score = "double(event.severity)" }))
	for n := range 100 {
		e := answer(n, "k", false)
		e.SeverityNumber, e.IngestTimeUnixNano = int32(n%10), uint64(w.now.Add(-200*time.Millisecond).UnixNano())
		w.give(1, e)
	}
	report := of(w.pass(time.Minute, false), TypeReport)[0]
	for name, want := range map[string]float64{"loose.score-p50": 4.5, "loose.score-p90": 8.5, "loose.latency-p50-ms": 200, "loose.latency-p99-ms": 200} {
		if got := attribute(t, report, name).(float64); got < want*0.85 || got > want*1.15 {
			t.Errorf("%s: got %g, want about %g", name, got, want)
		}
	}
}

// TestBadEvents are dead letters that name the expression.
func TestBadEvents(t *testing.T) {
	for reason, change := range map[string]func(*config.Compare){
		reasonOutcome: func(c *config.Compare) { c.Outcome = "event.attributes['code'] == 1" },
		reasonScore:   func(c *config.Compare) { c.Score = "event.attributes['score']" },
		reasonKey:     func(c *config.Compare) { c.Key = "event.attributes['user']" },
	} {
		b := start(t, conf(change)).give(0, answer(1, "k", true))
		field := "compare." + strings.TrimSuffix(reason, "_error")
		if d := b.Decision(0); d.Verdict != stage.DeadLetter || d.Reason != reason || !strings.Contains(d.Err.Error(), field) {
			t.Errorf("%s: got %s %s: %v", reason, d.Verdict, d.Reason, d.Err)
		}
	}
}

// TestQuiet: an experiment that gets no events for a day is over, and its insight is closed.
func TestQuiet(t *testing.T) {
	w := start(t, conf(nil))
	w.give(0, answer(1, "k", true))
	w.pass(time.Minute, false)
	told := w.pass(25*time.Hour, false)
	if len(told) != 1 || told[0].GetInsight().GetStatus() != "closed" || told[0].GetInsight().GetRevision() != 2 {
		t.Fatalf("got %v, want that the insight is closed", told)
	}
	w.give(0, answer(1, "k", true))
	if next := of(w.pass(time.Minute, false), TypeInsight); len(next) != 1 || next[0].GetId() == told[0].GetId() {
		t.Errorf("the next experiment: %v", next)
	}
}

// TestOtherSettings: a stage with other settings counts anew, and closes what the one before told.
func TestOtherSettings(t *testing.T) {
	w := start(t, conf(nil))
	w.give(0, answer(1, "k", true))
	before := of(w.pass(time.Minute, false), TypeInsight)
	other := start(t, conf(func(c *config.Compare) { c.Outcome = "event.severity >= 9" }))
	other.now = w.now
	other.c.Recall(before, w.now)
	if decided := other.pass(0, false); len(decided) > 0 { // people were told of all up to then
		t.Errorf("told again: %v", decided)
	}
	other.give(0, answer(2, "k", true))
	told := of(other.pass(time.Minute, false), TypeInsight)
	if len(told) != 2 || told[0].GetId() != before[0].GetId() || told[0].GetInsight().GetStatus() != "closed" || told[1].GetId() == before[0].GetId() {
		t.Errorf("got %v", told)
	}
	if n := attribute(t, of(other.told, TypeReport)[0], "strict.events"); n != int64(1) {
		t.Errorf("the new experiment counts %v events, want 1", n)
	}
}

// TestFormat holds the bytes of a state.
func TestFormat(t *testing.T) {
	w := start(t, conf(func(c *config.Compare) { c.Mode = config.ExperimentMirror }))
	for n := range 3 {
		w.give(0, answer(n, "k", true))
	}
	w.give(1, answer(0, "k", false))
	w.pass(2*time.Minute, false)
	w.give(1, answer(1, "k", true))
	w.c.closing, w.c.closeAfter = []*eventv1.Event{{Id: "of before"}}, 7
	stagetest.Format(t, stateVersion, w.c)
}

// TestDifferenceThatGoes: what was found is not told of the other direction later.
func TestDifferenceThatGoes(t *testing.T) {
	w := start(t, conf(nil))
	lot := rand.New(rand.NewPCG(2, 2))
	n := 0
	for minute := range 14 {
		rate := []float64{0.2, 0.3}
		if minute >= 6 {
			rate = []float64{0.3, 0.2}
		}
		for range 1000 {
			w.give(n%2, answer(n, fmt.Sprint("key-", n), lot.Float64() < rate[n%2]))
			n++
		}
		w.pass(time.Minute, false)
	}
	insights := of(w.told, TypeInsight)
	if then := insights[5].GetBody(); !strings.HasPrefix(then, "loose has the outcome more often") {
		t.Fatalf("after six minutes: %s", then)
	}
	last := insights[len(insights)-1]
	if strings.Contains(last.GetBody(), "often than") || !strings.Contains(last.GetInsight().GetSummary(), "not there any more") {
		t.Errorf("in the end: %s: %s", last.GetBody(), last.GetInsight().GetSummary())
	}
}
