package correlate

import (
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]config.Correlate{
		"realtime": {Realtime: &config.CorrelateRealtime{}},
		"window":   {Window: &config.CorrelateWindow{}},
		"runs":     {Runs: &config.CorrelateRuns{}},
		"patterns": {Patterns: &config.CorrelatePatterns{}},
	} {
		t.Run(name, func(t *testing.T) {
			stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Partitions: 1, Correlate: &c}})
		})
	}
}

// TestSnapshots is of stories that the one of TestConformance does not tell.
func TestSnapshots(t *testing.T) {
	t.Run("runs", func(t *testing.T) {
		stagetest.Snapshots(t, stagetest.Suite{
			Factory: NewFactory(), Messages: shopping(),
			Config: config.StageConfig{Partitions: 1, Correlate: &config.Correlate{Realtime: &config.CorrelateRealtime{}, Runs: &config.CorrelateRuns{}}},
		})
	})
	t.Run("patterns", func(t *testing.T) {
		stagetest.Snapshots(t, stagetest.Suite{
			Factory: NewFactory(), Messages: lessons(),
			Config: config.StageConfig{Partitions: 1, Correlate: &config.Correlate{Patterns: &config.CorrelatePatterns{}}},
		})
	})
	stagetest.Snapshots(t, stagetest.Suite{
		Factory: NewFactory(), Messages: recoveries(),
		Config: config.StageConfig{Partitions: 1, Correlate: &config.Correlate{Realtime: &config.CorrelateRealtime{}, Window: &config.CorrelateWindow{MinEvents: 1}}},
	})
}
