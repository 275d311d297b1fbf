package config_test

import (
	"testing"

	"millrace.dev/millrace/workers/config"
)

// TestStored: the pattern covers all lanes, and not the ports whose names follow the subject.
func TestStored(t *testing.T) {
	for name, c := range map[string]struct {
		out  config.Output
		want string
	}{
		"frames":             {config.Output{Subject: "ns.a", Format: config.FormatFrame}, "ns.a.*"},
		"frames, each lane":  {config.Output{Subject: "ns.a", Format: config.FormatFrame, Repartition: true}, "ns.a.*.*"},
		"single CloudEvents": {config.Output{Subject: "ns.i", Format: config.FormatCloudEvent}, "ns.i.s.*.*"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.out.Stored("s"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
