package analyze

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage/state"
)

// TestSameInputSameOutput: what the stage does follows from its input.
func TestSameInputSameOutput(t *testing.T) {
	messages := replay.Story(t, generator.Options{Seed: 3, Events: 6000, End: start}, 30*time.Second)
	c := config.Analyze{
		Anomaly: &config.AnalyzeAnomaly{Threshold: new(0.0)}, Trend: &config.AnalyzeTrend{Window: config.Duration(5 * time.Minute)},
	}
	want := replay.New(t, newStage(t, c)).Run(messages)
	if d := replay.Diff(want, replay.New(t, newStage(t, c)).Run(messages), 0); d != "" {
		t.Error(d)
	}
	n := 0
	for _, s := range want {
		n += len(s.Produced)
	}
	if n < 20 {
		t.Errorf("%d events were made: the story shows nothing", n)
	}
}

// ramps are two hours of series that rise, fall and stand still by turns, one value of each in ten seconds. Each
// series is silent for a quarter of each hour, longer than the window. Every fourth is what a counter grows by.
func ramps() (messages []replay.Message) {
	r := rand.New(rand.NewPCG(11, 12))
	const series = 40
	var level, slope, total [series]float64
	for i := range 720 {
		var lines [][]byte
		for n := range series {
			if r.IntN(100) == 0 {
				slope[n] = float64(r.IntN(3)-1) * r.Float64() / 10
			}
			level[n] += slope[n]
			e := value(i, fmt.Sprint("pod-", n), "m", 40+level[n]+r.NormFloat64())
			total[n] += e.GetMetric().GetValue()
			if n%4 == 0 {
				e.GetMetric().Kind, e.GetMetric().Value = "counter", total[n]
			}
			if (i+9*n)%360 >= 90 {
				lines = append(lines, cloudevent.AppendProto(nil, e))
			}
		}
		messages = append(messages, message(i, lines))
	}
	return messages
}

// TestRebuiltTrends: points are those of an instance that was never dropped. Of what was told
// before the horizon one thing may be missing: that a trend was, which has grown weak since,
// and would be told again when it grows strong. That is one result more for a series at most.
func TestRebuiltTrends(t *testing.T) {
	messages := ramps()
	c := config.Analyze{Trend: &config.AnalyzeTrend{}}
	all := replay.New(t, newStage(t, c)).Run(messages)
	want := trends(all)
	total, more := 0, 0
	for at := 130; at < len(messages); at += 60 {
		got := trends(replay.Rebuild(t, newStage(t, c), messages, at, all).Run(messages[at:]))
		late := messages[at].Stored.UnixNano()
		again := map[string]int{}
		for id, g := range got {
			total++
			if w, ok := want[id]; !ok {
				again[g.series]++
			} else if w != g {
				t.Errorf("rebuilt before message %d: trend %+v, want %+v", at, g, w)
			}
		}
		for id, w := range want {
			if _, ok := got[id]; w.time >= late && !ok {
				t.Errorf("rebuilt before message %d: trend %+v is missing", at, w)
			}
		}
		for series, n := range again {
			more += n
			if n > 1 {
				t.Errorf("rebuilt before message %d: %d trends more of %s", at, n, series)
			}
		}
	}
	t.Logf("%d trends told after %d takeovers, %d of them again", total, (len(messages)-130)/60+1, more)
}

// message is the i-th, of one in ten seconds.
func message(i int, lines [][]byte) replay.Message {
	return replay.Message{Stored: start.Add(time.Duration(i) * 10 * time.Second), Data: bytes.Join(lines, []byte("\n"))}
}

// leaks are five hours of series that rise at different rates to limits that they reach in one to eight hours, or are killed.
func leaks() (messages []replay.Message) {
	r := rand.New(rand.NewPCG(21, 22))
	const series = 20
	var level, slope, limit [series]float64
	for n := range series {
		slope[n] = 0.05 + r.Float64()/4
		limit[n] = 100 + slope[n]*360*(1+7*r.Float64())
	}
	for i := range 1800 {
		var lines [][]byte
		for n := range series {
			if level[n] += slope[n]; r.IntN(900) == 0 {
				level[n] = 0
			}
			e := value(i, fmt.Sprint("pod-", n), "m", 100+level[n]+2*r.NormFloat64())
			e.Attributes = []*eventv1.KeyValue{{Key: LimitAttribute, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: limit[n]}}}
			lines = append(lines, cloudevent.AppendProto(nil, e))
		}
		messages = append(messages, message(i, lines))
	}
	return messages
}

// TestRebuiltLimits: of limits that come near, an instance that was rebuilt tells what one tells that was never dropped.
func TestRebuiltLimits(t *testing.T) {
	messages := leaks()
	c := config.Analyze{Trend: &config.AnalyzeTrend{}}
	want := replay.New(t, newStage(t, c)).Run(messages)
	told := 0
	for at := 150; at < len(messages); at += 330 {
		got := replay.Rebuild(t, newStage(t, c), messages, at, want).Run(messages[at:])
		told += len(limits(got))
		if diff := cmp.Diff(limits(want[at:]), limits(got)); diff != "" {
			t.Errorf("rebuilt before message %d: insights (-want +got):\n%s", at, diff)
		}
	}
	if told < 25 {
		t.Errorf("%d insights were told: the test shows nothing", told)
	}
}

// limits are the insights about limits, by id.
func limits(steps []replay.Step) map[string]string {
	out := map[string]string{}
	for _, s := range steps {
		for _, p := range s.Produced {
			if in := p.Event.GetInsight(); in != nil {
				out[p.Event.GetId()] = p.Event.GetSubject() + ": " + in.GetSummary()
			}
		}
	}
	return out
}

// trend is what one result says.
type trend struct {
	series, direction string
	time              int64
	slope, p          float64
}

func trends(steps []replay.Step) map[string]trend {
	out := map[string]trend{}
	for _, s := range steps {
		for _, p := range s.Produced {
			if r := p.Event.GetTrend(); r != nil {
				out[p.Event.GetId()] = trend{r.GetSeries(), r.GetDirection(), int64(p.Event.GetTimeUnixNano()), r.GetSlopePerSecond(), r.GetPValue()}
			}
		}
	}
	return out
}

// TestTakeovers measures what a takeover changes in the anomalies of the day behind it, against an
// instance that has seen the day before, for one value in ten seconds: those that are told by one of them only. With a snapshot there are
// none. A replay of 30 minutes makes a young detector, which is silent at first and careful for long: the table of
// docs/stages/analyze.md. go test -v -run TestTakeovers ./workers/analyze
func TestTakeovers(t *testing.T) {
	const (
		day    = 8640
		series = 20
		replay = int(rebuildAnomaly / (10 * time.Second))
	)
	for name, next := range map[string]func(r *rand.Rand, i int, level *float64) float64{
		"noise":          func(r *rand.Rand, _ int, _ *float64) float64 { return 100 + r.NormFloat64() },
		"autocorrelated": func(r *rand.Rand, _ int, v *float64) float64 { *v = 0.95**v + r.NormFloat64(); return 100 + *v },
		"daily wave": func(r *rand.Rand, i int, _ *float64) float64 {
			return 100 + 30*math.Sin(2*math.Pi*float64(i)/day) + 2*r.NormFloat64()
		},
		"heavy tail": func(r *rand.Rand, _ int, _ *float64) float64 { return math.Exp(0.7 * r.NormFloat64()) },
		"walk":       func(r *rand.Rand, _ int, v *float64) float64 { *v += r.NormFloat64(); return 1000 + *v },
	} {
		t.Run(name, func(t *testing.T) {
			var told, more, fewer float64
			for seed := range uint64(series) {
				r, level := rand.New(rand.NewPCG(seed, 9)), 0.0
				values := make([]float64, 2*day)
				for i := range values {
					if values[i] = next(r, i+int(seed)*day/series, &level); r.IntN(2000) == 0 {
						values[i] += 15 * (1 + r.Float64())
					}
				}
				var old, rebuilt, restored anomalies
				alarm := func(d *anomalies, i int) bool {
					score := d.Add(values[i])
					return d.Tell(score.Value, defaultThreshold, d.Age(), int64(i)*int64(10*time.Second))
				}
				for i := range values {
					if i == day {
						restored = moved(t, &old)
					}
					a := alarm(&old, i)
					b := i >= day-replay && alarm(&rebuilt, i)
					if i < day {
						continue
					}
					if c := alarm(&restored, i); c != a {
						t.Fatalf("value %d: told %t by a detector that was restored, want %t", i, c, a)
					}
					told += float64(one(a))
					more += float64(one(b && !a))
					fewer += float64(one(a && !b))
				}
			}
			t.Logf("a series and day: %.2f told, %.2f more and %.2f fewer after a takeover without a snapshot", told/series, more/series, fewer/series)
			if more/series > 6 || fewer/series > 1 {
				t.Errorf("a series and day: %.2f more and %.2f fewer, documented are at most 6 and 1", more/series, fewer/series)
			}
		})
	}
}

// moved is a copy by way of a snapshot.
func moved(t *testing.T, from *anomalies) (to anomalies) {
	t.Helper()
	b, err := state.Write(nil, state.Format{}, func(c *state.Codec) { (&codec{Codec: c}).anomalies(from) })
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Read(b, state.Format{}, func(c *state.Codec) { (&codec{Codec: c}).anomalies(&to) }); err != nil {
		t.Fatal(err)
	}
	return to
}
