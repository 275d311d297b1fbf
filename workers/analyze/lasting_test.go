package analyze

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

// live runs events as a worker gets them: each stored when it happened, or at stored.
func live(t *testing.T, s stage.Stage, events []*eventv1.Event, stored func(i int) time.Time) (made []*eventv1.Event) {
	t.Helper()
	for i, e := range events {
		b := batch(t, []*eventv1.Event{e})
		b.Events[0].Origin.Sequence = uint64(i + 1)
		b.Now = stored(i)
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Produced() {
			made = append(made, p.Event)
		}
	}
	return made
}

func every10s(i int) time.Time { return start.Add(time.Duration(i) * 10 * time.Second) }

func countOf(made []*eventv1.Event, kind string) (n int) {
	for _, e := range made {
		if e.GetType() == kind {
			n++
		}
	}
	return n
}

// TestOneWrongTimeTellsNoTrendTwice: one value of a clock that is ahead, live and in a file of old events.
func TestOneWrongTimeTellsNoTrendTwice(t *testing.T) {
	for name, stored := range map[string]func(int) time.Time{
		"live": every10s, "an old file": func(int) time.Time { return start.AddDate(2, 0, 0) },
	} {
		for _, wrong := range []int{5, 300, 599} {
			t.Run(fmt.Sprint(name, ", value ", wrong), func(t *testing.T) {
				var values []float64
				for i := range 600 {
					values = append(values, 100+float64(i))
				}
				events := seriesOf("a", "m", values)
				events[wrong].TimeUnixNano = uint64(start.AddDate(1, 0, 0).UnixNano())
				if n := countOf(live(t, newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{}}), events, stored), TypeTrend); n != 1 {
					t.Errorf("%d trends, want 1", n)
				}
			})
		}
	}
}

// TestAnomaliesOfEventsWithoutIDs: each is a result, and each episode an insight, of its own.
func TestAnomaliesOfEventsWithoutIDs(t *testing.T) {
	for name, mend := range map[string]func(*eventv1.Event){
		"without ids":           func(e *eventv1.Event) { e.Id = "" },
		"without ids and times": func(e *eventv1.Event) { e.Id, e.TimeUnixNano = "", 0 },
	} {
		t.Run(name, func(t *testing.T) {
			values := noise(5000, 100)
			values[1000], values[2000], values[4000] = 200, 1000, 9000
			events := seriesOf("a", "m", values)
			for _, e := range events {
				mend(e)
			}
			ids := map[string]bool{}
			for _, e := range live(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}), events, every10s) {
				if e.GetInsight().GetStatus() != "closed" {
					ids[e.GetId()] = true
				}
			}
			if len(ids) != 6 {
				t.Errorf("%d ids, want 3 of anomalies and 3 of insights", len(ids))
			}
		})
	}
}

// TestIDsDoNotHangOnTheStage: a stage that is renamed tells nothing under another id.
func TestIDsDoNotHangOnTheStage(t *testing.T) {
	idsOf := func(name string) (ids []string) {
		s, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{
			Stage: name, Pipeline: config.PipelineRef{Namespace: "default", Name: "p"},
			Analyze: &config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		values := noise(1500, 100)
		values[1300] = 900
		for _, e := range live(t, s, append(seriesOf("a", "m", values), leak(100, 150)...), every10s) {
			ids = append(ids, e.GetId())
		}
		return ids
	}
	a, b := idsOf("analyze"), idsOf("numbers")
	if diff := cmp.Diff(a, b); diff != "" || len(a) < 4 {
		t.Errorf("%d ids; of another name (-analyze +numbers):\n%s", len(a), diff)
	}
}

// TestQuiet: an anomaly is told again after half an hour and 300 values of a series with many, or a week.
func TestQuiet(t *testing.T) {
	const first = 8000
	for _, tc := range []struct {
		every, after time.Duration
		want         int
	}{
		{time.Second, 28 * time.Minute, 1},
		{time.Second, 32 * time.Minute, 2},
		{10 * time.Second, 49 * time.Minute, 1},
		{10 * time.Second, 51 * time.Minute, 2},
		{time.Hour, 6 * 24 * time.Hour, 1},
		{time.Hour, 8 * 24 * time.Hour, 2},
	} {
		second := first + int(tc.after/tc.every)
		values := noise(second+1, 100)
		values[first], values[second] = 200, 3000
		events := seriesOf("a", "m", values)
		at := func(i int) time.Time { return start.Add(time.Duration(i) * tc.every) }
		for i, e := range events {
			e.TimeUnixNano = uint64(at(i).UnixNano())
		}
		s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(7.0)}})
		if got := countOf(live(t, s, events, at), TypeAnomaly); got != tc.want {
			t.Errorf("a value in %s, again after %s: %d anomalies, want %d", tc.every, tc.after, got, tc.want)
		}
	}
}

// TestAttributesTellSeriesApart: the values of two disks, or containers, of one entity are not mixed.
func TestAttributesTellSeriesApart(t *testing.T) {
	for name, mark := range map[string]func(e *eventv1.Event, which string){
		"device": func(e *eventv1.Event, which string) {
			e.Attributes = []*eventv1.KeyValue{stringOf("direction", "read"), stringOf("device", which)}
		},
		"container": func(e *eventv1.Event, which string) {
			e.Resource = []*eventv1.KeyValue{stringOf(labelResource, which)}
		},
		"status": func(e *eventv1.Event, which string) {
			e.Attributes = []*eventv1.KeyValue{{Key: "http.status_code", Value: &eventv1.KeyValue_IntValue{IntValue: 200 + int64(len(which))}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var events []*eventv1.Event
			for i, v := range noise(800, 0) {
				level, which := 30.5, "sda"
				if i%2 == 1 {
					level, which = 90.5, "sdb2"
				}
				if i == 600 {
					v = 31 // to 62: between the two
				}
				e := value(i, "a", "disk.utilization", level+v)
				mark(e, which)
				events = append(events, e)
			}
			var series []string
			for _, e := range live(t, newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}), events, every10s) {
				if a := e.GetAnomaly(); a != nil {
					series = append(series, fmt.Sprint(a.GetEventId(), " ", len(e.GetAttributes())))
				}
			}
			if len(series) != 1 || series[0] != fmt.Sprint("a-disk.utilization-600 ", 1+max(1, len(events[0].GetAttributes()))) {
				t.Errorf("anomalies: %q, want that of value 600", series)
			}
		})
	}
}

func stringOf(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

// TestAttributesThatAlwaysDifferMakeNoSeries: values of one are known together, and the number of series is bounded.
func TestAttributesThatAlwaysDifferMakeNoSeries(t *testing.T) {
	for name, mark := range map[string]func(i int) *eventv1.KeyValue{
		"an id by its name": func(i int) *eventv1.KeyValue { return stringOf("request_id", fmt.Sprint(i)) },
		"an id by its form": func(i int) *eventv1.KeyValue { return stringOf("trace", fmt.Sprintf("%032x", i)) },
		"a path":            func(i int) *eventv1.KeyValue { return stringOf("path", fmt.Sprint("/cart/", i)) },
		"a number": func(i int) *eventv1.KeyValue {
			return &eventv1.KeyValue{Key: "size", Value: &eventv1.KeyValue_IntValue{IntValue: int64(i)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := noise(1000, 100)
			values[900] = 300
			events := seriesOf("a", "m", values)
			for i, e := range events {
				e.Attributes = []*eventv1.KeyValue{mark(i), stringOf("device", []string{"sda", "sdb"}[i%2])}
			}
			s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
			if n := countOf(live(t, s, events, every10s), TypeAnomaly); n != 1 {
				t.Errorf("%d anomalies, want 1", n)
			}
			if n := s.(*analyzer).store.lru.Len(); n > 200 {
				t.Errorf("%d series", n)
			}
		})
	}
	t.Run("combinations", func(t *testing.T) {
		s := newStage(t, config.Analyze{Anomaly: &config.AnalyzeAnomaly{}})
		events := seriesOf("a", "m", make([]float64, 10_000))
		for i, e := range events {
			e.TimeUnixNano = uint64(start.UnixNano())
			e.Attributes = []*eventv1.KeyValue{stringOf("a", fmt.Sprint(i%50)), stringOf("b", fmt.Sprint(i/50%50))}
		}
		live(t, s, events, func(int) time.Time { return start })
		if n := s.(*analyzer).store.lru.Len(); n > 2*maxCombined {
			t.Errorf("%d series", n)
		}
	})
}

// TestEveryInsightIsClosed: also by a worker that took over in the meantime, and under the same id.
func TestEveryInsightIsClosed(t *testing.T) {
	c := config.Analyze{Anomaly: &config.AnalyzeAnomaly{}, Trend: &config.AnalyzeTrend{}}
	var messages []replay.Message
	add := func(i int, e *eventv1.Event) {
		messages = append(messages, replay.Message{Stored: every10s(i), Data: cloudevent.AppendProto(nil, e)})
	}
	rising := leak(1700, 100+0.5*1900)
	for i, v := range noise(1900, 100) {
		if i%400 == 399 {
			v += math.Pow10(3 + i/400)
		}
		add(i, value(i, "pay", "latency", v))
		if i < len(rising) {
			add(i, rising[i])
		}
	}
	add(2100, value(2100, "other", "m", 1))
	status := func(steps []replay.Step, into map[string]string) map[string]string {
		for _, s := range steps {
			for _, p := range s.Produced {
				if in := p.Event.GetInsight(); in != nil {
					into[p.Event.GetId()] = in.GetStatus()
				}
			}
		}
		return into
	}
	all := replay.New(t, newStage(t, c)).Run(messages)
	if got := status(all, map[string]string{}); len(got) != 5 {
		t.Errorf("%d insights, want 4 episodes and a limit: %v", len(got), got)
	}
	for at := 200; at < len(messages); at += 101 {
		got := status(all[:at], map[string]string{})
		status(replay.Rebuild(t, newStage(t, c), messages, at, all).Run(messages[at:]), got)
		for id, s := range got {
			if s != "closed" {
				t.Errorf("taken over before message %d: insight %s is %s at the end", at, id, s)
			}
		}
	}
}

// TestInsightsOfSlowSeriesAreClosed: a series of one value in 5 minutes, of which a rebuilt detector has seen too few to score
// any.
func TestInsightsOfSlowSeriesAreClosed(t *testing.T) {
	c := config.Analyze{Anomaly: &config.AnalyzeAnomaly{}}
	var messages []replay.Message
	for i, v := range noise(700, 100) {
		if i == 650 {
			v += 500
		}
		e := value(30*i, "pay", "latency", v)
		messages = append(messages, replay.Message{Stored: every10s(30 * i), Data: cloudevent.AppendProto(nil, e)})
	}
	all := replay.New(t, newStage(t, c)).Run(messages)
	got := replay.Rebuild(t, newStage(t, c), messages, 651, all).Run(messages[651:])
	ids, statuses := map[string]bool{}, []string{}
	for _, s := range append(all[:651:651], got...) {
		for _, p := range s.Produced {
			if in := p.Event.GetInsight(); in != nil {
				ids[p.Event.GetId()] = true
				statuses = append(statuses, in.GetStatus())
			}
		}
	}
	if diff := cmp.Diff([]string{"open", "closed"}, statuses); diff != "" || len(ids) != 1 {
		t.Errorf("%d ids; statuses (-want +got):\n%s", len(ids), diff)
	}
}
