package plan

import (
	"strings"
	"testing"
)

// TestLanesOf: names of durables tell in how many lanes a stage runs.
func TestLanesOf(t *testing.T) {
	p := &Plan{Namespace: "shop", Name: "obs", Partitions: 8}
	one := &Stage{Name: "check", Lanes: 1, Consumers: []Consumer{{Durable: "shop-obs-check"}, {Durable: "shop-obs-check_lane-1"}}}
	many := &Stage{Name: "check", Lanes: 8, Consumers: []Consumer{{Durable: "shop-obs-check_lane-0"}, {Durable: "shop-obs-check_lane-1"}}}
	tests := map[string]struct {
		stage    *Stage
		durables string
		want     int
	}{
		"nothing":                     {many, "", 0},
		"one, as planned":             {one, "shop-obs-check", 0},
		"many, as planned":            {many, "shop-obs-check_lane-0 shop-obs-check_lane-1", 0},
		"one lane of a stream":        {many, "shop-obs-check", 1},
		"one lane of a shared stream": {many, "shop-obs-check_validate", 1},
		"many lanes":                  {one, "shop-obs-check_lane-0", 8},
		"another stage":               {many, "shop-obs-check-2 shop-obs-checks shop-obs-other", 0},
		"one lane that reads a stage named lane-1": {one, "shop-obs-check_lane-1", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := p.LanesOf(test.stage, strings.Fields(test.durables)); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
