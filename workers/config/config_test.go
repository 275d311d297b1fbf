package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// valid is the smallest config that a worker takes.
func valid() *config.StageConfig {
	return &config.StageConfig{
		APIVersion: config.APIVersion, Stage: "s", Kind: config.KindValidate, Partitions: 1, Lanes: 1, DrainTimeout: config.Duration(90 * time.Second),
		Inputs:   []config.Input{{From: "ingress", Stream: "S", Durable: "d", Subject: "a.b.>"}},
		Validate: &config.Validate{},
	}
}

// lanes has a stage read an ingress with partitions.
func lanes(c *config.StageConfig) {
	c.Partitions, c.Lanes, c.Inputs[0].Repartitioned = 8, 8, true
	c.Outputs = map[string]config.Output{"out": {Format: config.FormatFrame}}
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		edit func(c *config.StageConfig)
		// replace old by new in the encoded config.
		old, new string
		want     string
	}{
		"valid":                  {},
		"unknown field":          {old: `"stage": "s"`, new: `"stage": "s", "stagee": 1`, want: `read stage config: json: unknown field "stagee"`},
		"another version":        {old: "/v1\"", new: "/v2\"", want: `read stage config: apiVersion is "millrace.dev/worker/v2", this worker reads "millrace.dev/worker/v1"`},
		"unknown kind":           {edit: func(c *config.StageConfig) { c.Kind = "brew" }, want: `read stage config: kind "brew" is unknown`},
		"kind without member":    {edit: func(c *config.StageConfig) { c.Validate = nil }, want: `read stage config: kind is "validate" but its member is missing`},
		"member of another kind": {edit: func(c *config.StageConfig) { c.Enrich = &config.Enrich{} }, want: `read stage config: kind is "validate" but enrich is set too`},
		"no inputs":              {edit: func(c *config.StageConfig) { c.Inputs = nil }, want: "read stage config: inputs is empty: a stage reads at least one stream"},
		"no partitions":          {edit: func(c *config.StageConfig) { c.Partitions = 0 }, want: "read stage config: partitions is 0: at least 1"},
		"lanes":                  {edit: func(c *config.StageConfig) { c.Partitions, c.Lanes = 8, 3 }, want: "read stage config: lanes is 3: 1 or the number of partitions, 8"},
		"lanes at an ingress without partitions": {
			edit: func(c *config.StageConfig) { c.Partitions, c.Lanes = 8, 8 },
			want: "read stage config: lanes is 8, but inputs[0] is an ingress without partitions: 1, or set repartitioned where it has some",
		},
		"lanes at an ingress": {edit: func(c *config.StageConfig) {
			lanes(c)
			c.Outputs["out"] = config.Output{Format: config.FormatFrame, Repartition: true}
		}},
		"lanes at an ingress, keeping the partition": {
			edit: lanes, want: "read stage config: outputs.out.repartition is missing: lanes of the stage have events of any key",
		},
		"chained to lanes at an ingress, keeping the partition": {
			edit: func(c *config.StageConfig) {
				behind := *valid()
				lanes(&behind)
				behind.Stage, behind.Inputs = "t", []config.Input{{From: "s/out"}}
				lanes(c)
				delete(c.Outputs, "out")
				c.Chain = []config.StageConfig{behind}
			},
			want: "read stage config: chain[0]: outputs.out.repartition is missing: lanes of the stage have events of any key",
		},
		"repartition of dead letters": {
			edit: func(c *config.StageConfig) {
				c.Outputs = map[string]config.Output{"dead-letter": {Format: config.FormatRaw, Repartition: true}}
			},
			want: "read stage config: outputs.dead-letter.repartition is set, but its format raw has no partitions",
		},
		"watermarks of dead letters": {
			edit: func(c *config.StageConfig) {
				c.Outputs = map[string]config.Output{"dead-letter": {Format: config.FormatRaw, Watermarks: true}}
			},
			want: "read stage config: outputs.dead-letter.watermarks is set, but the messages of its format raw carry none",
		},
		"watermarks of what may be left out": {
			edit: func(c *config.StageConfig) {
				c.Outputs = map[string]config.Output{"out": {Format: config.FormatFrame, Watermarks: true, OnFull: config.Drop}}
			},
			want: "read stage config: outputs.out has watermarks and onFull Drop: what is left out cannot be told",
		},
		"a breaker that cannot be": {
			edit: func(c *config.StageConfig) { c.Breaker = &config.Breaker{FailureRatio: 2} },
			want: "read stage config: breaker.failureRatio: is 2, must be above 0 and up to 1",
		},
		"repartitioned dead letters": {
			edit: func(c *config.StageConfig) { c.Inputs[0].From, c.Inputs[0].Repartitioned = "a/dead-letter", true },
			want: "read stage config: inputs[0].repartitioned is set, but port a/dead-letter has no partitions",
		},
		"repartitioned in memory": {
			edit: func(c *config.StageConfig) { c.Inputs[0] = config.Input{From: "a/out", Repartitioned: true} },
			want: "read stage config: inputs[0].repartitioned is set, but the input is no stream",
		},
		"more behind it": {old: "\n}", new: "\n} } what is this {", want: "read stage config: more follows behind the config"},
		"two members too many": {
			edit: func(c *config.StageConfig) { c.Correlate, c.Analyze = &config.Correlate{}, &config.Analyze{} },
			want: `read stage config: kind is "validate" but analyze is set too`,
		},
		"duration as number": {old: `"1m30s"`, new: "90", want: "read stage config: duration must be a string such as \"30s\": json: cannot unmarshal number into Go value of type string"},
		"duration of words":  {old: `"1m30s"`, new: `"soon"`, want: `read stage config: time: invalid duration "soon"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := valid()
			if test.edit != nil {
				test.edit(c)
			}
			encoded, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if test.old != "" && !strings.Contains(string(encoded), test.old) {
				t.Fatalf("%s has no %s", encoded, test.old)
			}
			got, err := config.Parse([]byte(strings.Replace(string(encoded), test.old, test.new, 1)))
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(test.want, text); diff != "" {
				t.Fatalf("error (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c, got); test.want == "" && diff != "" {
				t.Errorf("read back (-want +got)\n%s", diff)
			}
		})
	}
}

// TestPlanned reads what the planner writes: its golden plans are the contract between the
// planes. Encoding a config again gives the same bytes, so that its hash is stable.
func TestPlanned(t *testing.T) {
	goldens, err := filepath.Glob("../../controllers/plan/testdata/*.json")
	if err != nil || len(goldens) < 4 {
		t.Fatalf("found %d plans: %v", len(goldens), err)
	}
	for _, golden := range goldens {
		content, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		var p struct {
			Stages []struct{ Config json.RawMessage }
		}
		if err := json.Unmarshal(content, &p); err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Stages {
			c, err := config.Parse(s.Config)
			if err != nil {
				t.Errorf("%s: %v", golden, err)
				continue
			}
			first, _ := c.Encode()
			again, err := config.Parse(first)
			if err != nil {
				t.Fatal(err)
			}
			if second, _ := again.Encode(); string(first) != string(second) {
				t.Errorf("%s: stage %s is encoded in two ways", golden, c.Stage)
			}
		}
	}
}
