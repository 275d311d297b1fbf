package enrich_test

import (
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich"
)

func TestConformance(t *testing.T) {
	stagetest.Run(t, stagetest.Suite{Factory: enrich.NewFactory(snapshot()), Config: config.StageConfig{Enrich: all()}})
}
