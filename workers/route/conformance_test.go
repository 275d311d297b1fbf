package route_test

import (
	"testing"

	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/route"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]config.Route{
		"first": {Mode: config.RouteFirst, Default: "rest", Rules: []config.RouteRule{{Port: "errors", Expression: "event.severity >= 17"}}},
		"all": {Mode: config.RouteAll, Rules: []config.RouteRule{
			{Port: "errors", Expression: "event.severity >= 17"}, {Port: "canary", Expression: "event.body.contains('a')", Sample: 0.5},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			outputs := map[string]config.Output{}
			for _, port := range []string{"errors", "canary", "rest"} {
				outputs[port] = config.Output{Format: config.FormatFrame}
			}
			stagetest.Run(t, stagetest.Suite{Factory: route.NewFactory(), Config: config.StageConfig{Outputs: outputs, Route: &c}})
		})
	}
}
