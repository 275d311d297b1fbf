package analyze

import (
	"testing"

	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
)

// TestConformance is of trends: what a rebuilt detector of anomalies knows less is said in docs/stages/analyze.md.
func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{}}}})
}

// TestSnapshots is of trends and anomalies, and of stories that the one of TestConformance does not tell. With a threshold of 0 it compares the scores of
// all values.
func TestSnapshots(t *testing.T) {
	for name, tc := range map[string]struct {
		messages  []replay.Message
		threshold float64
	}{"a cluster": {nil, 0}, "ramps": {ramps()[:400], 0}, "leaks": {leaks()[:450], 1}} {
		t.Run(name, func(t *testing.T) {
			stagetest.Snapshots(t, stagetest.Suite{
				Factory: NewFactory(), Messages: tc.messages,
				Config: config.StageConfig{Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{}, Anomaly: &config.AnalyzeAnomaly{Threshold: &tc.threshold}}},
			})
		})
	}
}
