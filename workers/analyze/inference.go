package analyze

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/analyze/model"
	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// inference scores events by a model. The model and what it is given change together, between two batches.
type inference struct {
	scorer *scorer
	// next is what the config asks for while the file with its model is not there yet; nil = nothing.
	next *config.AnalyzeInference
	// tried is when the file was looked at last, by the clock of the wall.
	tried   time.Time
	now     func() time.Time
	log     *slog.Logger
	metrics *inferenceMetrics
}

// retryModel is how often a worker looks for the file of a model that the config asks for.
const retryModel = time.Second

// scorer is a model and what it is given. It is not changed once it is made, but for its memory.
type scorer struct {
	name      string
	digest    string // sha256:...
	threshold float64
	tells     bool // a person, from the threshold on
	shadow    bool
	when      *cel.Condition // nil = always
	features  []feature
	model     *model.Model
	format    model.Format
	x         []float64 // memory for the values of an event, in the order of the model
}

type feature struct {
	name string // in the spec
	at   int    // in the model
	read cel.Expression[event.Value]
}

func newInference(c *config.AnalyzeInference, s stage.Settings) (*inference, error) {
	made, err := newScorer(c, nil)
	if err != nil {
		return nil, err
	}
	return &inference{scorer: made, now: s.Now, log: s.Log, metrics: newInferenceMetrics(s.Metrics, made)}, nil
}

// errDigest says that the file of a model holds another one.
var errDigest = errors.New("the file holds another model")

// readModel reads the file of a model and checks that it is the one that the config names.
func readModel(c *config.AnalyzeModel) (*model.Model, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, model.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > model.MaxBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", c.File, model.MaxBytes)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != c.SHA256 {
		return nil, fmt.Errorf("%w: its sha256 is %s, must be %s", errDigest, got, c.SHA256)
	}
	return model.Read(model.Format(c.Format), data)
}

// newScorer makes what c asks for. before is the one that scores, whose model is not read again; nil = there is none.
func newScorer(c *config.AnalyzeInference, before *scorer) (*scorer, error) {
	s := &scorer{name: c.Model.Name, digest: "sha256:" + c.Model.SHA256, format: model.Format(c.Model.Format), shadow: c.Shadow}
	if c.Threshold != nil {
		s.threshold, s.tells = *c.Threshold, !c.Shadow
	}
	// What is wrong with the config is found first: the model may not be there yet.
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	if c.When != "" {
		when, err := env.Condition(c.When)
		if err != nil {
			return nil, fmt.Errorf("analyze.inference.when: %w", err)
		}
		s.when = &when
	}
	for i, f := range c.Features {
		read, err := cel.Compile[event.Value](env, f.Expression)
		if err != nil {
			return nil, fmt.Errorf("analyze.inference.features[%d]: %w", i, err)
		}
		s.features = append(s.features, feature{name: f.Name, read: read})
	}
	if before != nil && before.digest == s.digest && before.format == s.format {
		s.model = before.model
	} else if s.model, err = readModel(c.Model); err != nil {
		return nil, fmt.Errorf("analyze.inference.model: %w", err)
	}
	if err := s.bind(); err != nil {
		return nil, fmt.Errorf("analyze.inference.features: %w", err)
	}
	return s, nil
}

// bind finds each feature of the config in the model, and the other way round.
func (s *scorer) bind() error {
	names := s.model.Features()
	if len(s.features) != len(names) {
		return fmt.Errorf("has %d features, the model has %d: %s", len(s.features), len(names), listed(names))
	}
	bound := make([]bool, len(names))
	for i := range s.features {
		f := &s.features[i]
		f.at = i
		if s.model.Named() {
			f.at = slices.Index(names, f.name)
		}
		if f.at < 0 || bound[f.at] {
			return fmt.Errorf("the model has no feature %q, or it is there twice; it has %s", f.name, listed(names))
		}
		bound[f.at] = true
	}
	s.x = make([]float64, len(names))
	return nil
}

// listed are the first names.
func listed(names []string) string {
	if len(names) > 20 {
		return strings.Join(names[:20], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// Why an event that was asked about has no score: values of the metric label `reason`.
const (
	refusedWhen     = "when"     // the condition cannot be evaluated
	refusedType     = "type"     // a feature is neither a number nor a bool
	refusedMissing  = "missing"  // a feature is missing, and the model has no way to go then
	refusedInfinite = "infinite" // a feature is infinite, or beyond what the model can hold
	refusedScore    = "score"    // the score is not finite
)

// score scores an event. refused is empty when it has a score; asked is false when the event is none that the model is asked about.
func (s *scorer) score(e *event.Event) (score float64, asked bool, refused string) {
	if s.when != nil {
		holds, err := s.when.Holds(e)
		if err != nil {
			return 0, true, refusedWhen
		}
		if !holds {
			return 0, false, ""
		}
	}
	for i := range s.features {
		f := &s.features[i]
		v, err := f.read.Of(e)
		if err != nil { // the event does not have it
			s.x[f.at] = math.NaN()
			continue
		}
		value, ok := number64(v)
		if !ok {
			return 0, true, refusedType
		}
		s.x[f.at] = value
	}
	score, err := s.model.Score(s.x)
	switch {
	case err == nil:
		return score, true, ""
	case errors.Is(err, model.ErrMissing):
		return 0, true, refusedMissing
	case errors.Is(err, model.ErrInfinite):
		return 0, true, refusedInfinite
	}
	return 0, true, refusedScore
}

// number64 is a value as a model takes it: null is missing, a bool is 0 or 1.
func number64(v event.Value) (float64, bool) {
	switch v.Kind() {
	case event.None:
		return math.NaN(), true
	case event.Bool:
		if v.Bool() {
			return 1, true
		}
		return 0, true
	case event.Int, event.Double:
		return v.Float()
	}
	return 0, false
}

// predict asks the model about an event.
func (a *analyzer) predict(b *stage.Batch, i int) {
	in := a.inference
	s, e := in.scorer, &b.Events[i]
	began := in.now()
	score, asked, refused := s.score(e)
	if !asked {
		return
	}
	in.metrics.seconds.Observe(in.now().Sub(began).Seconds())
	if refused != "" {
		in.metrics.refused.WithLabelValues(refused).Inc()
		return
	}
	in.metrics.scores.Observe(score)
	found := a.results.prediction(b, e, s, score)
	b.Produce(i, stage.Out, found)
	if s.shadow {
		return
	}
	if a.passes {
		e.AddAttribute(attributePrediction, event.DoubleValue(score))
	}
	if s.tells && score >= s.threshold {
		a.insights.predicts(b, e, s, score, found)
	}
}

// attributePrediction is the attribute of an event that passes which holds its score.
const attributePrediction = "analyze.prediction"

// The attributes of a result of a model. Those of features are AttributeFeature and the name; a value that is missing has none.
const (
	AttributePrediction = "prediction.score"
	AttributeModel      = "prediction.model"
	AttributeDigest     = "prediction.digest"
	AttributeEventID    = "prediction.event.id"
	AttributeShadow     = "prediction.shadow"
	AttributeFeature    = "prediction.feature."
)

// prediction is a result of a model: all that somebody needs to do it again.
func (r results) prediction(b *stage.Batch, e *event.Event, s *scorer, score float64) *eventv1.Event {
	entity, related := refs(e)
	about := entityText(entity, e.Source)
	out := &eventv1.Event{
		Id: r.idOf(TypePrediction, s.name, b, e), Source: r.source, Type: TypePrediction, Subject: s.name + " of " + about,
		TimeUnixNano: uint64(e.Time), IngestTimeUnixNano: uint64(e.IngestTime),
		PartitionKey: strings.Clone(e.Key()), Entity: entity, Related: related,
		TraceId: []byte(string(e.TraceID)), SpanId: []byte(string(e.SpanID)),
		SeverityNumber: event.SeverityInfo,
		Attributes: []*eventv1.KeyValue{
			number(AttributePrediction, score), text(AttributeModel, s.name), text(AttributeDigest, s.digest), text(AttributeEventID, strings.Clone(e.ID)),
		},
	}
	if s.tells && score >= s.threshold {
		out.SeverityNumber = event.SeverityWarn
	}
	out.SeverityText = event.SeverityText(out.SeverityNumber)
	out.Body = fmt.Sprintf("%s of %s is %s", s.name, about, event.Quantity(score, ""))
	if s.shadow {
		out.Attributes = append(out.Attributes, &eventv1.KeyValue{Key: AttributeShadow, Value: &eventv1.KeyValue_BoolValue{BoolValue: true}})
	}
	for i := range s.features {
		if f := &s.features[i]; !math.IsNaN(s.x[f.at]) {
			out.Attributes = append(out.Attributes, number(AttributeFeature+f.name, s.x[f.at]))
		}
	}
	return out
}

func text(key, v string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: v}}
}

// openPrediction is an insight about a workload that a model has found, and that is not closed.
type openPrediction struct {
	about *eventv1.Event // the last score that reached the threshold
	name  string         // of the model
	seen  int64          // the stream time then
}

// predicts tells a person about a workload whose score has reached the threshold: once, until it has not for the quiet time.
func (in *insights) predicts(b *stage.Batch, e *event.Event, s *scorer, score float64, found *eventv1.Event) {
	root := workload(found)
	// The id is the same each time, as that of a limit is: a rebuilt stage need not know when it began.
	id := event.NewID(in.pipeline, TypeInsight, "prediction", s.name, e.Source, root.GetCluster(), root.GetKind(), root.GetNamespace(), root.GetName())
	p, ok := in.predictions.Get(id)
	if !ok {
		if in.predictions.Len() == in.max {
			oldest, p, _ := in.predictions.GetOldest()
			in.predictions.Remove(oldest)
			in.closePrediction(b, oldest, p)
		}
		p = &openPrediction{}
		in.predictions.Add(id, p)
	}
	*p = openPrediction{found, s.name, b.Now.UnixNano()}
	if ok || in.resumed(id) != nil {
		return
	}
	confidence, method := 0.0, fmt.Sprintf("none: the score of model %s is no probability", s.name)
	if s.model.Probability() {
		confidence, method = score, fmt.Sprintf("score of model %s", s.name)
	}
	b.Produce(stage.NoParent, stage.Insights, in.event(id, found, event.SeverityWarn, &eventv1.Insight{
		Title:   fmt.Sprintf("%s of %s is high", s.name, entityText(root, found.GetSubject())),
		Summary: fmt.Sprintf("%s, the threshold is %s", found.GetBody(), event.Quantity(s.threshold, "")),
		RuleId:  "prediction", Algorithm: s.name + "@" + s.digest, Confidence: confidence, ConfidenceMethod: method,
		RootCause: root, Affected: []*eventv1.EntityRef{root}, Count: 1, Status: "open", Revision: 1,
		FirstSeenUnixNano: found.GetTimeUnixNano(), LastSeenUnixNano: found.GetTimeUnixNano(),
		Evidence: []*eventv1.Evidence{{
			EventId: strings.Clone(e.ID), Type: strings.Clone(e.Type), TimeUnixNano: found.GetTimeUnixNano(), Relation: "same-workload",
			Text: found.GetBody(), Entity: found.GetEntity(),
		}},
	}))
}

// closePredictions closes what has not been found again for the quiet time.
func (in *insights) closePredictions(b *stage.Batch) {
	for {
		id, p, ok := in.predictions.GetOldest()
		if !ok || b.Now.UnixNano()-p.seen <= int64(in.quiet) {
			return
		}
		in.predictions.Remove(id)
		in.closePrediction(b, id, p)
	}
}

func (in *insights) closePrediction(b *stage.Batch, id string, p *openPrediction) {
	root := workload(p.about)
	b.Produce(stage.NoParent, stage.Insights, in.event(id, p.about, event.SeverityWarn, &eventv1.Insight{
		Title:   fmt.Sprintf("%s of %s is not high any more", p.name, entityText(root, p.about.GetSubject())),
		Summary: "No score has reached the threshold since; the last one: " + p.about.GetBody(),
		RuleId:  "prediction", RootCause: root, Affected: []*eventv1.EntityRef{root},
		LastSeenUnixNano: p.about.GetTimeUnixNano(), Count: 1, Status: "closed", Revision: 2,
	}))
}

// reload returns what c asks for from now on. Where the file holds another model than c names, the one that scores goes on until it does: the kubelet brings
// the config and the model one after the other.
func (in *inference) reload(c *config.AnalyzeInference) (*inference, error) {
	next := *in
	made, err := newScorer(c, in.scorer)
	switch {
	case errors.Is(err, errDigest) || errors.Is(err, os.ErrNotExist):
		wanted := *c
		next.next, next.tried = &wanted, in.now()
		in.log.Warn("the model of the config is not there yet; the worker goes on with the one that it has", "reason", err)
		return &next, nil
	case err != nil:
		return nil, err
	}
	next.use(made)
	return &next, nil
}

func (in *inference) use(s *scorer) {
	in.metrics.swapped(in.scorer, s)
	in.scorer, in.next = s, nil
}

// look looks for the model that the config asks for, if it was not there.
func (in *inference) look() {
	if in.next == nil || in.now().Sub(in.tried) < retryModel {
		return
	}
	in.tried = in.now()
	made, err := newScorer(in.next, in.scorer)
	switch {
	case errors.Is(err, errDigest) || errors.Is(err, os.ErrNotExist):
	case err != nil:
		in.log.Error("the new model is refused; the worker goes on with the one that it has", "error", err)
		in.metrics.swaps.WithLabelValues("refused").Inc()
		in.next = nil
	default:
		in.log.Info("the new model has taken over", "model", made.name, "digest", made.digest)
		in.use(made)
	}
}

type inferenceMetrics struct {
	seconds prometheus.Histogram
	scores  prometheus.Histogram
	refused *prometheus.CounterVec
	swaps   *prometheus.CounterVec
	info    *prometheus.GaugeVec
}

func newInferenceMetrics(metrics prometheus.Registerer, s *scorer) *inferenceMetrics {
	m := &inferenceMetrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_analyze_prediction_seconds", Help: "How long a model and its features took for an event.",
			Buckets: prometheus.ExponentialBuckets(1e-6, 4, 8),
		}),
		scores: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_analyze_prediction_score", Help: "Scores of a model.", Buckets: prometheus.LinearBuckets(0.1, 0.1, 10),
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_analyze_predictions_refused_total",
			Help: "Events without a score: when (the condition fails), type (a feature is no number), missing or infinite (a feature is), score (the score is not finite).",
		}, []string{"reason"}),
		swaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_analyze_model_swaps_total", Help: "Models that came while the worker ran: applied, or refused.",
		}, []string{"result"}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_analyze_model_info", Help: "1 for the model that scores.",
		}, []string{"model", "digest", "shadow"}),
	}
	for _, reason := range []string{refusedWhen, refusedType, refusedMissing, refusedInfinite, refusedScore} {
		m.refused.WithLabelValues(reason)
	}
	for _, result := range []string{"applied", "refused"} {
		m.swaps.WithLabelValues(result)
	}
	m.informs(s)
	if metrics != nil {
		metrics.MustRegister(m.seconds, m.scores, m.refused, m.swaps, m.info)
	}
	return m
}

func (m *inferenceMetrics) informs(s *scorer) {
	m.info.Reset()
	m.info.WithLabelValues(s.name, s.digest, fmt.Sprint(s.shadow)).Set(1)
}

// swapped notes which scorer scores from now on.
func (m *inferenceMetrics) swapped(from, to *scorer) {
	if from.digest != to.digest {
		m.swaps.WithLabelValues("applied").Inc()
	}
	m.informs(to)
}
