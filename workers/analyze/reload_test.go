package analyze

import (
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// TestReload: the thresholds change for series that are known already.
func TestReload(t *testing.T) {
	spike := noise(602, 100)
	spike[600] = 108
	series := seriesOf("pod", "m", spike)
	ramp := make([]float64, 120)
	for i := range ramp {
		ramp[i] = float64(i)
	}
	rising := seriesOf("pod", "m", ramp)
	for name, tc := range map[string]struct {
		from, to config.Analyze
		before   int // values
		values   int
		made     string
	}{
		"threshold": {
			from: config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(16.0)}}, to: config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: new(3.0)}},
			before: 600, values: len(series), made: TypeAnomaly,
		},
		"points": {
			from: config.Analyze{Trend: &config.AnalyzeTrend{MinPoints: maxPoints}}, to: config.Analyze{Trend: &config.AnalyzeTrend{MinPoints: 8}},
			before: 60, values: 90, made: TypeTrend,
		},
	} {
		t.Run(name, func(t *testing.T) {
			events := series
			if tc.made == TypeTrend {
				events = rising
			}
			changed := newStage(t, tc.from)
			if n := len(process(t, changed, events[:tc.before])[tc.made]); n != 0 {
				t.Fatalf("%d results before the change", n)
			}
			changed, err := changed.(stage.Reloader).Reload(&config.StageConfig{Analyze: &tc.to})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(process(t, changed, events[tc.before:tc.values])[tc.made]); n == 0 {
				t.Error("no result after the change")
			}
			kept := newStage(t, tc.from)
			if n := len(process(t, kept, events[:tc.values])[tc.made]); n != 0 {
				t.Errorf("%d results without a change: the test shows nothing", n)
			}
		})
	}
	const want = "analyze.trend.minPoints: is 65, must be between 4 and 64"
	s := newStage(t, config.Analyze{Trend: &config.AnalyzeTrend{}})
	if _, err := s.(stage.Reloader).Reload(&config.StageConfig{Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{MinPoints: 65}}}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestReloadKeepsTheState: with the same config again and again, a stage decides as if nothing had happened.
func TestReloadKeepsTheState(t *testing.T) {
	messages := replay.Story(t, generator.Options{Seed: 3, Events: 6000, End: start}, 30*time.Second)
	c := config.Analyze{
		Anomaly: &config.AnalyzeAnomaly{Threshold: new(1.0)}, Trend: &config.AnalyzeTrend{Window: config.Duration(5 * time.Minute)},
	}
	want := replay.New(t, newStage(t, c)).Run(messages)
	got := replay.New(t, newStage(t, c)).RunReloading(messages, 7, &config.StageConfig{Analyze: &c})
	if d := replay.Diff(want, got, 0); d != "" {
		t.Error(d)
	}
}
