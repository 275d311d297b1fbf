package engine

import (
	"strings"
	"testing"

	"millrace.dev/millrace/workers/config"
)

func TestOptionsNameWhatIsWrong(t *testing.T) {
	good := func() *config.StageConfig {
		return &config.StageConfig{
			Partitions: 1, Lanes: 1, Inputs: []config.Input{{Stream: "IN", Durable: "d"}},
			Outputs: map[string]config.Output{"dead-letter": {Stream: "D", Subject: "d", Format: config.FormatRaw}},
		}
	}
	for name, c := range map[string]struct {
		change func(*config.StageConfig)
		want   string
	}{
		"inputs":      {func(c *config.StageConfig) { c.Inputs = nil }, "inputs is empty"},
		"partitions":  {func(c *config.StageConfig) { c.Partitions = 0 }, "partitions is 0"},
		"lanes":       {func(c *config.StageConfig) { c.Lanes = 3 }, "lanes is 3"},
		"dead-letter": {func(c *config.StageConfig) { c.Outputs = nil }, `no port "dead-letter"`},
		"subject":     {func(c *config.StageConfig) { c.Outputs["out"] = config.Output{Format: config.FormatFrame} }, "outputs.out.subject is empty"},
		"onFull": {func(c *config.StageConfig) {
			c.Outputs["out"] = config.Output{Subject: "s", Format: config.FormatFrame, OnFull: "Burn"}
		}, `outputs.out.onFull is "Burn": Block or Drop`},
		"onFull of dead letters": {func(c *config.StageConfig) {
			c.Outputs[config.PortDeadLetter] = config.Output{Subject: "s", Format: config.FormatRaw, OnFull: config.Drop}
		}, "a dead letter is never left out"},
		"format": {func(c *config.StageConfig) { c.Outputs["out"] = config.Output{Subject: "s", Format: "xml"} }, `outputs.out.format is "xml"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(cfg)
			if err := checkConfig(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "factory is missing") {
		t.Errorf("empty options: got %v", err)
	}
}
