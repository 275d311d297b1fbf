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

// TestSnapshots is of trends and anomalies, and of stories that the one of TestConformance does not tell.
func TestSnapshots(t *testing.T) {
	for name, messages := range map[string][]replay.Message{"a cluster": nil, "ramps": ramps()[:400], "leaks": leaks()[:900]} {
		t.Run(name, func(t *testing.T) {
			stagetest.Snapshots(t, stagetest.Suite{
				Factory: NewFactory(), Messages: messages,
				Config: config.StageConfig{Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{}, Anomaly: &config.AnalyzeAnomaly{Threshold: 2}}},
			})
		})
	}
}
