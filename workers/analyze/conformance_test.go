package analyze

import (
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
)

// TestConformance is of trends: what a rebuilt detector of anomalies knows less is said in docs/stages/analyze.md.
func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Analyze: &config.Analyze{Trend: &config.AnalyzeTrend{}}}})
}
