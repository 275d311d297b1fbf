package analyze

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// logistic is the text of a model whose score is 1/2 where value is center, and rises with it.
func logistic(center float64) string {
	return fmt.Sprintf(`{"format": "millrace.dev/linear/v1", "features": ["value", "errors"], "center": [%g, 0], "coefficients": [1, 10], "intercept": 0, "link": "logistic"}`, center)
}

// place writes a model to file, and returns its digest.
func place(t testing.TB, file, text string) (digest string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// modelConfig has a model about values around 100; change changes the settings.
func modelConfig(t testing.TB, change func(*config.AnalyzeInference)) config.Analyze {
	t.Helper()
	file := filepath.Join(t.TempDir(), "model.json")
	c := config.AnalyzeInference{
		Model: &config.AnalyzeModel{Name: "risk", File: file, Format: "Linear", SHA256: place(t, file, logistic(100))}, Quiet: config.Duration(10 * time.Minute),
		Features: []config.AnalyzeFeature{
			{Name: "errors", Expression: `"errors" in event.attributes ? event.attributes["errors"] : 0.0`},
			{Name: "value", Expression: "event.metric.value"},
		},
	}
	if change != nil {
		change(&c)
	}
	return config.Analyze{Inference: &c}
}

// modelStage is a stage with its metrics, whose clock the test sets.
func modelStage(t testing.TB, c config.Analyze) (stage.Stage, *prometheus.Registry, *time.Time) {
	t.Helper()
	registry, now := prometheus.NewRegistry(), start
	s, err := NewFactory().New(stage.Settings{
		Config:  &config.StageConfig{Stage: "analyze", Pipeline: config.PipelineRef{Namespace: "default", Name: "p"}, Analyze: &c},
		Metrics: registry, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, registry, &now
}

// attributes of a result, as texts.
func attributes(e *eventv1.Event) map[string]string {
	got := map[string]string{}
	for _, a := range e.GetAttributes() {
		switch v := a.GetValue().(type) {
		case *eventv1.KeyValue_DoubleValue:
			got[a.GetKey()] = fmt.Sprintf("%.5g", v.DoubleValue)
		case *eventv1.KeyValue_StringValue:
			got[a.GetKey()] = v.StringValue
		case *eventv1.KeyValue_BoolValue:
			got[a.GetKey()] = fmt.Sprint(v.BoolValue)
		}
	}
	return got
}

// TestPrediction: a result says what the model saw, so that it can be done again.
func TestPrediction(t *testing.T) {
	c := modelConfig(t, nil)
	s, _, _ := modelStage(t, c)
	e := value(1, "pay", "latency", 101)
	e.Attributes = []*eventv1.KeyValue{{Key: "errors", Value: &eventv1.KeyValue_DoubleValue{DoubleValue: 0.05}}}
	found := process(t, s, []*eventv1.Event{e})[TypePrediction]
	if len(found) != 1 {
		t.Fatalf("%d results", len(found))
	}
	got := found[0]
	want := map[string]string{
		"prediction.score": "0.81757", "prediction.model": "risk", "prediction.digest": "sha256:" + c.Inference.Model.SHA256,
		"prediction.event.id": "pay-latency-1", "prediction.feature.errors": "0.05", "prediction.feature.value": "101",
	}
	if diff := cmp.Diff(want, attributes(got)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got.GetSubject() != "risk of pod shop/pay" || got.GetBody() != "risk of pod shop/pay is 0.8176" || got.GetEntity().GetName() != "pay" ||
		got.GetSeverityText() != "INFO" || got.GetTimeUnixNano() != e.GetTimeUnixNano() {
		t.Errorf("got %v", got)
	}
}

// TestFeatures: what an event does not have is missing, and what a model cannot take has no score and is counted.
func TestFeatures(t *testing.T) {
	xgboost, err := os.ReadFile(filepath.Join("model", "testdata", "xgboost-unnamed.json"))
	if err != nil {
		t.Fatal(err)
	}
	// trees takes the first feature from the event; the others are constants.
	trees := func(expression string) func(*config.AnalyzeInference) {
		return func(c *config.AnalyzeInference) {
			c.Model.Format, c.Model.SHA256 = "XGBoost", place(t, c.Model.File, string(xgboost))
			c.Features = []config.AnalyzeFeature{{Name: "any", Expression: expression}}
			for i := range 4 {
				c.Features = append(c.Features, config.AnalyzeFeature{Name: fmt.Sprint("other", i), Expression: "1"})
			}
		}
	}
	linear := func(expression string) func(*config.AnalyzeInference) {
		return func(c *config.AnalyzeInference) { c.Features[1].Expression = expression }
	}
	for name, tc := range map[string]struct {
		change  func(*config.AnalyzeInference)
		value   float64
		feature string // the first one, in the result; empty = it has none
		refused string // empty = it has a score
	}{
		"int":               {trees("event.severity"), 1, "13", ""},
		"bool":              {trees("event.severity == 13"), 1, "1", ""},
		"false":             {trees("event.severity > 13"), 1, "0", ""},
		"null":              {trees("null"), 1, "", ""},
		"not there":         {trees(`event.attributes["nothing"]`), 1, "", ""},
		"NaN":               {trees("event.metric.value"), math.NaN(), "", ""},
		"infinite":          {trees("event.metric.value"), math.Inf(1), "", "infinite"},
		"beyond a float":    {trees("event.metric.value"), 1e39, "", "infinite"},
		"a text":            {trees("event.type"), 1, "", "type"},
		"a text of digits":  {trees(`event.attributes["digits"]`), 1, "", "type"},
		"linear, NaN":       {linear("event.metric.value"), math.NaN(), "", "missing"},
		"linear, not there": {linear(`event.attributes["nothing"]`), 1, "", "missing"},
		"condition fails":   {func(c *config.AnalyzeInference) { c.When = `event.attributes["nothing"] == "x"` }, 1, "", "when"},
		"linear, score is huge": {func(c *config.AnalyzeInference) {
			c.Model.SHA256 = place(t, c.Model.File, strings.Replace(logistic(0), "logistic", "exp", 1))
		}, 1e9, "", "score"},
	} {
		t.Run(name, func(t *testing.T) {
			s, registry, _ := modelStage(t, modelConfig(t, tc.change))
			e := value(1, "pay", "latency", tc.value)
			e.SeverityNumber = 13
			e.Attributes = []*eventv1.KeyValue{{Key: "digits", Value: &eventv1.KeyValue_StringValue{StringValue: "12"}}}
			found := process(t, s, []*eventv1.Event{e})[TypePrediction]
			if (len(found) == 1) != (tc.refused == "") {
				t.Fatalf("%d results", len(found))
			}
			if len(found) == 1 && attributes(found[0])["prediction.feature.any"] != tc.feature {
				t.Errorf("the feature is %q, want %q", attributes(found[0])["prediction.feature.any"], tc.feature)
			}
			want := "# HELP millrace_analyze_predictions_refused_total Events without a score: when (the condition fails), type (a feature is no number), missing or infinite (a feature is), score (the score is not finite).\n# TYPE millrace_analyze_predictions_refused_total counter\n"
			for _, reason := range []string{"infinite", "missing", "score", "type", "when"} {
				n := 0
				if reason == tc.refused {
					n = 1
				}
				want += fmt.Sprintf("millrace_analyze_predictions_refused_total{reason=%q} %d\n", reason, n)
			}
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "millrace_analyze_predictions_refused_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPredictionsPass: an event that passes says its score, but not that of a model that is tried out; when says which events have one.
func TestPredictionsPass(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		t.Run(fmt.Sprintf("shadow=%t", shadow), func(t *testing.T) {
			c := modelConfig(t, func(c *config.AnalyzeInference) {
				c.Shadow, c.Threshold, c.When = shadow, new(0.4), `event.entity.name == "pay"`
			})
			c.PassThrough = true
			s, _, _ := modelStage(t, c)
			b := batch(t, []*eventv1.Event{value(1, "pay", "latency", 100), value(1, "cart", "latency", 100)})
			if err := s.Process(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			score, ok := b.Events[0].Attribute(attributePrediction)
			if v, _ := score.Float(); ok == shadow || ok && v != 0.5 {
				t.Errorf("the event has the score %v, %t", score, ok)
			}
			if _, ok := b.Events[1].Attribute(attributePrediction); ok {
				t.Error("the event that the condition does not hold for has a score")
			}
			made := map[string]int{}
			for _, p := range b.Produced() {
				made[p.Event.GetType()]++
				if p.Event.GetType() == TypePrediction && (attributes(p.Event)[AttributeShadow] == "true") != shadow {
					t.Errorf("got %v", p.Event)
				}
			}
			want := map[string]int{TypePrediction: 1, TypeInsight: 1}
			if shadow {
				delete(want, TypeInsight)
			}
			if diff := cmp.Diff(want, made); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestPredictionInsights: a person is told once, and again when it was quiet between.
func TestPredictionInsights(t *testing.T) {
	s, _, _ := modelStage(t, modelConfig(t, func(c *config.AnalyzeInference) { c.Threshold = new(0.9) }))
	at := start
	told := func(v float64) (status []string, id string) {
		t.Helper()
		b := stagetest.Batch(t, value(int(at.Sub(start)/(10*time.Second)), "pay", "latency", v))
		b.Now = at
		if err := s.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Produced() {
			if i := p.Event.GetInsight(); i != nil {
				status, id = append(status, i.GetStatus()), p.Event.GetId()
				if i.GetRuleId() != "prediction" || i.GetConfidence() < 0.9 || i.GetRootCause().GetName() != "pay" || !strings.Contains(i.GetSummary(), "the threshold is 0.9") {
					t.Errorf("got %v", i)
				}
			}
		}
		return status, id
	}
	if got, _ := told(101); got != nil { // 0.73
		t.Errorf("told %v below the threshold", got)
	}
	opened, id := told(104)
	if diff := cmp.Diff([]string{"open"}, opened); diff != "" {
		t.Error(diff)
	}
	at = at.Add(9 * time.Minute)
	if got, _ := told(105); got != nil {
		t.Errorf("told %v again", got)
	}
	at = at.Add(10 * time.Minute)
	if got := flushed(t, s, at); len(got) != 0 {
		t.Errorf("closed before 10 minutes were over: %v", got)
	}
	at = at.Add(time.Second)
	closed := flushed(t, s, at)
	if len(closed) != 1 || closed[0].GetInsight().GetStatus() != "closed" || closed[0].GetId() != id {
		t.Errorf("got %v, want %s closed", closed, id)
	}
	if got, again := told(104); len(got) != 1 || again != id {
		t.Errorf("told %v as %s, want it open as %s", got, again, id)
	}
}

// TestModelsThatAreRefused: a worker does not start with them.
func TestModelsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*config.AnalyzeInference)
		want   string
	}{
		"no model": {func(c *config.AnalyzeInference) { c.Model = nil }, "analyze.inference.model: is missing"},
		"digest":   {func(c *config.AnalyzeInference) { c.Model.SHA256 = strings.Repeat("0", 64) }, "analyze.inference.model: the file holds another model: its sha256 is "},
		"no file":  {func(c *config.AnalyzeInference) { c.Model.File += "x" }, "analyze.inference.model: open "},
		"format":   {func(c *config.AnalyzeInference) { c.Model.Format = "XGBoost" }, "analyze.inference.model: read the XGBoost model: version [] is unknown"},
		"large": {func(c *config.AnalyzeInference) {
			c.Model.SHA256 = place(t, c.Model.File, strings.Repeat(" ", 4<<20+1))
		}, "has more than 4194304 bytes"},
		"few features":   {func(c *config.AnalyzeInference) { c.Features = c.Features[:1] }, "analyze.inference.features: has 1 features, the model has 2: value, errors"},
		"feature":        {func(c *config.AnalyzeInference) { c.Features[1].Name = "speed" }, `analyze.inference.features: the model has no feature "speed"`},
		"feature twice":  {func(c *config.AnalyzeInference) { c.Features[1].Name = "errors" }, "or it is there twice"},
		"expression":     {func(c *config.AnalyzeInference) { c.Features[0].Expression = "event.nothing" }, "analyze.inference.features[0]: "},
		"condition":      {func(c *config.AnalyzeInference) { c.When = "1" }, "analyze.inference.when: "},
		"quiet":          {func(c *config.AnalyzeInference) { c.Quiet = 0 }, "analyze.inference.quiet: is 0s, at least 1s"},
		"threshold, NaN": {func(c *config.AnalyzeInference) { c.Threshold = new(math.NaN()) }, "analyze.inference.threshold: is NaN, must be a number"},
	} {
		t.Run(name, func(t *testing.T) {
			c := modelConfig(t, tc.change)
			_, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{Analyze: &c}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ...%s...", err, tc.want)
			}
		})
	}
}

// TestHotSwap: a new model takes over when its file is there, with what it is given and its threshold, and the old one scores until then.
func TestHotSwap(t *testing.T) {
	c := modelConfig(t, nil)
	s, registry, now := modelStage(t, c)
	i := 0
	score := func() string {
		t.Helper()
		i++
		found := process(t, s, []*eventv1.Event{value(i, "pay", "latency", 100)})[TypePrediction]
		if len(found) != 1 {
			t.Fatalf("%d results", len(found))
		}
		return attributes(found[0])[AttributePrediction]
	}
	reload := func(change func(*config.AnalyzeInference)) error {
		t.Helper()
		changed, changedModel := *c.Inference, *c.Inference.Model
		changed.Model = &changedModel
		change(&changed)
		next, err := s.(stage.Reloader).Reload(&config.StageConfig{Analyze: &config.Analyze{Inference: &changed}})
		if err == nil {
			s = next
		}
		return err
	}
	if got := score(); got != "0.5" {
		t.Fatalf("the first model says %s", got)
	}
	// The config is there before the model.
	other := filepath.Join(t.TempDir(), "other.json")
	digest := place(t, other, logistic(0))
	if err := reload(func(c *config.AnalyzeInference) { c.Model.SHA256 = digest }); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(retryModel)
	flushed(t, s, *now)
	if got := score(); got != "0.5" {
		t.Errorf("without the file of the new model the score is %s", got)
	}
	place(t, c.Inference.Model.File, logistic(0))
	*now = now.Add(retryModel)
	flushed(t, s, *now)
	if got := score(); got != "1" {
		t.Errorf("the new model says %s", got)
	}
	// The model is there before the config.
	digest = place(t, c.Inference.Model.File, logistic(101))
	if got := score(); got != "1" {
		t.Errorf("without a config the score is %s", got)
	}
	if err := reload(func(c *config.AnalyzeInference) {
		c.Model.SHA256 = digest
		c.Features[1].Expression = "event.metric.value + 1.0"
	}); err != nil {
		t.Fatal(err)
	}
	if got := score(); got != "0.5" {
		t.Errorf("the third model says %s", got)
	}
	// What is wrong changes nothing, whether it is known at once or later.
	if err := reload(func(c *config.AnalyzeInference) { c.When = "1" }); err == nil {
		t.Error("a wrong condition is taken")
	}
	wrong := place(t, other, "{}")
	if err := reload(func(c *config.AnalyzeInference) { c.Model.SHA256 = wrong }); err != nil {
		t.Fatal(err)
	}
	place(t, c.Inference.Model.File, "{}")
	*now = now.Add(retryModel)
	flushed(t, s, *now)
	if got := score(); got != "0.5" {
		t.Errorf("after a wrong model the score is %s", got)
	}
	const want = `# HELP millrace_analyze_model_swaps_total Models that came while the worker ran: applied, or refused.
# TYPE millrace_analyze_model_swaps_total counter
millrace_analyze_model_swaps_total{result="applied"} 2
millrace_analyze_model_swaps_total{result="refused"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "millrace_analyze_model_swaps_total"); err != nil {
		t.Error(err)
	}
}

// TestInferenceConformance: results and insights are the same after a takeover, with and without a snapshot.
func TestInferenceConformance(t *testing.T) {
	c := modelConfig(t, func(c *config.AnalyzeInference) {
		c.Features = []config.AnalyzeFeature{{Name: "value", Expression: "double(event.severity) + 88.0"}, {Name: "errors", Expression: `event.type.contains("oom")`}}
		c.Threshold, c.Quiet = new(0.6), config.Duration(time.Minute)
		c.When = `event.id != ""` // the others are known by the sequence of their message, which the suite counts anew in each instance
	})
	stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Analyze: &c}})
}
