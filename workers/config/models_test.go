package config

import (
	"slices"
	"strings"
	"testing"
)

// The files of a stage and of those chained to it are below the folder where they are mounted, and the plan that a config comes from stays as it is.
func TestModelFilesOfAWorker(t *testing.T) {
	reads := func(f ModelFile) StageConfig {
		return StageConfig{Kind: KindAnalyze, Analyze: &Analyze{Inference: &AnalyzeInference{Model: &AnalyzeModel{File: f.File}}}}
	}
	planned := reads(NewModelFile("models", "risk.txt"))
	planned.Chain = []StageConfig{{Kind: KindEnrich, Enrich: &Enrich{}}, reads(NewModelFile("models", "load.json"))}
	c := planned
	c.ModelsIn("/models")
	if got, want := c.ModelFiles(), []string{"/models/models/risk.txt", "/models/models/load.json"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := planned.ModelFiles(), []string{"models/risk.txt", "models/load.json"}; !slices.Equal(got, want) {
		t.Errorf("the plan has %q, want %q", got, want)
	}
}

func TestModelFilesStayInTheirFolder(t *testing.T) {
	c := StageConfig{
		APIVersion: APIVersion, Kind: KindAnalyze, Partitions: 1, Lanes: 1, Inputs: []Input{{}},
		Analyze: &Analyze{Inference: &AnalyzeInference{Model: &AnalyzeModel{File: "models/../../etc/passwd"}}},
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `"models/../../etc/passwd" is no file below the folder of models`
	if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
