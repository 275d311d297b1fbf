package enrich_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// missed is how many look-ups did not find their answer in the cache.
func missed(t *testing.T, metrics *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "millrace_enrich_cache_total" && m.GetLabel()[0].GetValue() == "miss" {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestReload: the rules change also for events of which the stage remembers, by their lead, which
// rules may match. What was looked up stays in the cache.
func TestReload(t *testing.T) {
	with := func(class string) *config.StageConfig {
		c := all()
		c.Semantic.Rules = []config.SemanticRule{{ID: "all", Type: "app.*", Class: class, Category: "information"}}
		return &config.StageConfig{Stage: "enrich", Kind: config.KindEnrich, Enrich: c}
	}
	s := start(t, with("first").Enrich, snapshot())
	frame, decoder := benchFrame(t), decode.New(decode.Limits{Lift: true})
	classes := func(by stage.Stage) map[string]int {
		decoder.Reset()
		events, _ := decoder.Decode(nil, frame)
		b := &stage.Batch{Events: events}
		b.Reset(1)
		if err := by.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for i := range b.Events {
			if strings.HasPrefix(b.Events[i].Type, "app.") {
				m, err := b.Events[i].ToProto()
				if err != nil {
					t.Fatal(err)
				}
				counts[m.GetSemantic().GetClass()]++
			}
		}
		return counts
	}
	old := s.Stage
	n := classes(old)["first"]
	classes(old) // now by what is remembered
	misses := missed(t, s.metrics)
	next, err := old.(stage.Reloader).Reload(with("second"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // both are at work while lanes take the new one up
		if diff := cmp.Diff(map[string]int{"second": n}, classes(next)); diff != "" {
			t.Errorf("by the new rules (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"first": n}, classes(old)); diff != "" {
			t.Errorf("by the old rules (-want +got):\n%s", diff)
		}
	}
	if got := missed(t, s.metrics); n == 0 || misses == 0 || got != misses {
		t.Errorf("%d events, %g look-ups were missed, %g before the change", n, got, misses)
	}
	_, err = next.(stage.Reloader).Reload(with(""))
	if err == nil || !strings.Contains(err.Error(), "enrich.semantic.rules[0].class is missing") {
		t.Errorf("a rule without a class: got %v", err)
	}
	s.Stage = next // the newest is shut down
}
