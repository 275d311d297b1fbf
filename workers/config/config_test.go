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
		"unknown kind":           {edit: func(c *config.StageConfig) { c.Kind = "route" }, want: `read stage config: kind "route" is unknown`},
		"kind without member":    {edit: func(c *config.StageConfig) { c.Validate = nil }, want: `read stage config: kind is "validate" but its member is missing`},
		"member of another kind": {edit: func(c *config.StageConfig) { c.Enrich = &config.Enrich{} }, want: `read stage config: kind is "validate" but enrich is set too`},
		"no inputs":              {edit: func(c *config.StageConfig) { c.Inputs = nil }, want: "read stage config: inputs is empty: a stage reads at least one stream"},
		"no partitions":          {edit: func(c *config.StageConfig) { c.Partitions = 0 }, want: "read stage config: partitions is 0: at least 1"},
		"lanes":                  {edit: func(c *config.StageConfig) { c.Partitions, c.Lanes = 8, 3 }, want: "read stage config: lanes is 3: 1 or the number of partitions, 8"},
		"more behind it":         {old: "\n}", new: "\n} } what is this {", want: "read stage config: more follows behind the config"},
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
