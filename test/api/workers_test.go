package api_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/compare"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/experiment"
	"millrace.dev/millrace/workers/gather"
	"millrace.dev/millrace/workers/join"
	"millrace.dev/millrace/workers/route"
	"millrace.dev/millrace/workers/sink"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/transform"
	"millrace.dev/millrace/workers/validate"
)

// TestWorkersTakeWhatIsAccepted plans every stage that the API server accepts and makes it as
// a worker does: what passes the bounds and rules never fails in a pod.
func TestWorkersTakeWhatIsAccepted(t *testing.T) {
	kinds := stage.NewRegistry(validate.NewFactory(), enrich.NewFactory(enrichkubernetes.Choice{}.Open), correlate.NewFactory(), analyze.NewFactory(),
		route.NewFactory(), transform.NewFactory(), experiment.NewFactory(), compare.NewFactory(), gather.NewFactory(), sink.NewFactory(), join.NewFactory())
	accepted := nodesAccepted()
	accepted["bare enrich"] = `{validate: null, enrich: {kubernetes: {}, semantic: {}, trace: {}, impact: {}}}`
	accepted["bare correlate"] = `{validate: null, correlate: {realtime: {}, window: {}}}`
	accepted["bare analyze"] = `{validate: null, analyze: {anomaly: {}, trend: {}}}`
	accepted["bare dedupe"] = `{validate: {dedupe: {}}}`
	form := forms()["Pipeline"]
	checker, err := manifest.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	made := map[config.Kind]bool{}
	for name, patch := range accepted {
		t.Run(name, func(t *testing.T) {
			encoded, err := yaml.Marshal(form.wrap(t, form.base, patch).Object)
			if err != nil {
				t.Fatal(err)
			}
			set, problems, err := checker.Read(t.Context(), "object.yaml", strings.NewReader(string(encoded)))
			if err != nil || len(problems) > 0 {
				t.Fatal(err, problems)
			}
			for _, s := range set.Plans[0].Stages {
				run(t, kinds, s)
				made[s.Config.Kind] = true
			}
		})
	}
	for _, k := range config.Kinds() {
		if !made[k.Kind] {
			t.Errorf("no stage of kind %s is among what is accepted: add some", k.Kind)
		}
	}
}

// run makes a stage from its config as it stands in a ConfigMap.
func run(t *testing.T, kinds stage.Registry, s plan.Stage) {
	t.Helper()
	encoded, err := s.Config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(encoded)
	if err != nil {
		t.Fatal(err)
	}
	c.ModelsIn("../../config/samples")
	stagetest.MountSecrets(t, c)
	factory, err := kinds.Factory(c.Kind)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Replays(), factory.Stateful(c); got != want {
		t.Errorf("stage %s: the config says replays %t, the stage says stateful %t: its NATS user has the wrong rights", s.Name, got, want)
	}
	if _, err := factory.New(stage.Settings{Config: c, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry()}); err != nil {
		t.Errorf("the worker refuses stage %s: %v", s.Name, err)
	}
}
