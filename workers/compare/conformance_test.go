package compare

import (
	"testing"
	"time"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
)

func TestConformance(t *testing.T) {
	for _, mode := range []config.ExperimentMode{config.ExperimentSplit, config.ExperimentMirror} {
		t.Run(string(mode), func(t *testing.T) {
			c := *conf(func(c *config.Compare) { c.Mode, c.Interval = mode, config.Duration(10*time.Second) })
			stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: c})
		})
	}
}
