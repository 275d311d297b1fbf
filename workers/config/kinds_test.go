package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
)

// TestTraits says what follows from a config by the table of kinds.
func TestTraits(t *testing.T) {
	type traits struct{ replays, readsCluster bool }
	for name, test := range map[string]struct {
		config config.StageConfig
		want   traits
	}{
		"validate":             {config.StageConfig{Kind: config.KindValidate, Validate: &config.Validate{}}, traits{}},
		"validate with dedupe": {config.StageConfig{Kind: config.KindValidate, Validate: &config.Validate{Dedupe: &config.Dedupe{}}}, traits{replays: true}},
		"enrich":               {config.StageConfig{Kind: config.KindEnrich, Enrich: &config.Enrich{Trace: &config.EnrichTrace{}}}, traits{}},
		"enrich kubernetes":    {config.StageConfig{Kind: config.KindEnrich, Enrich: &config.Enrich{Kubernetes: &config.EnrichKubernetes{}}}, traits{readsCluster: true}},
		"enrich impact":        {config.StageConfig{Kind: config.KindEnrich, Enrich: &config.Enrich{Impact: &config.EnrichImpact{}}}, traits{readsCluster: true}},
		"correlate":            {config.StageConfig{Kind: config.KindCorrelate, Correlate: &config.Correlate{}}, traits{replays: true}},
		"analyze":              {config.StageConfig{Kind: config.KindAnalyze, Analyze: &config.Analyze{}}, traits{replays: true}},
		"no member":            {config.StageConfig{Kind: config.KindValidate}, traits{}},
		"unknown":              {config.StageConfig{Kind: "route"}, traits{}},
		"chained": {config.StageConfig{Kind: config.KindValidate, Validate: &config.Validate{}, Chain: []config.StageConfig{
			{Kind: config.KindEnrich, Enrich: &config.Enrich{Impact: &config.EnrichImpact{}}},
		}}, traits{readsCluster: true}}, // the workers do, for what is chained
	} {
		got := traits{test.config.Replays(), test.config.ReadsCluster()}
		if got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
	if diff := cmp.Diff([]string{"out", "dead-letter", "insights"}, config.KindAnalyze.Traits().Ports()); diff != "" {
		t.Errorf("ports of analyze (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"out", "dead-letter"}, config.KindEnrich.Traits().Ports()); diff != "" {
		t.Errorf("ports of enrich (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"dead-letter", "insights"}, config.Traits{NoOut: "ends here", Finds: []string{"insights"}}.Ports()); diff != "" {
		t.Errorf("ports of a kind without port out (-want +got)\n%s", diff)
	}
}
