package validate_test

import (
	"testing"
	"time"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/validate"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]config.Validate{
		"rules":  {Rules: []config.Rule{{Expression: `event.type != "app.log" || event.severity < 17`, Message: "no errors"}}, RequiredAttributes: []string{"id", "source"}},
		"dedupe": {Dedupe: &config.Dedupe{Window: config.Duration(time.Minute), MaxEntries: 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			stagetest.Run(t, stagetest.Suite{Factory: validate.NewFactory(), Config: config.StageConfig{Validate: &c}})
		})
	}
}
