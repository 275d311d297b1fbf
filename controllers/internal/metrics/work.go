package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// The outcomes of a pass over an object.
const (
	outcomeError    = "error"
	outcomeDeleting = "deleting"
	outcomeReady    = "ready"
	outcomeStalled  = "stalled"
	outcomeWaiting  = "waiting"
)

// Work counts what the operator does. It implements prometheus.Collector; a nil Work counts nothing. Its methods may be called
// from any goroutine.
type Work struct {
	repairs, refusals, reconciles *prometheus.CounterVec
	requests                      *prometheus.HistogramVec
}

// NewWork returns a Work that has counted nothing.
func NewWork() *Work {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_operator_" + name, Help: help}, labels)
	}
	w := &Work{
		repairs:    counter("repairs_total", "Times that the operator undid what somebody else had changed or deleted, by kind of the owner (Pipeline, Stage) and what was repaired.", "kind", "what"),
		refusals:   counter("plan_refusals_total", "Times that the planner began to refuse an object, by its kind (Pipeline, Stage).", "kind"),
		reconciles: counter("reconciles_total", "Reconciles, by kind (Pipeline, Stage) and outcome (ready, waiting, stalled, deleting, error).", "kind", "outcome"),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_operator_nats_request_seconds", Help: "Requests to NATS, by verb of the JetStream API and outcome (ok, not_found, refused, forbidden, unreachable).",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}, []string{"verb", "outcome"}),
	}
	// What never happened is 0, so that an alert sees the first time.
	for _, kind := range []string{"Pipeline", "Stage"} {
		w.refusals.WithLabelValues(kind)
		for _, outcome := range []string{outcomeError, outcomeDeleting, outcomeReady, outcomeStalled, outcomeWaiting} {
			w.reconciles.WithLabelValues(kind, outcome)
		}
	}
	for what, kind := range map[string]string{"stream": "Pipeline", "stage": "Pipeline", "consumer": "Stage"} {
		w.repairs.WithLabelValues(kind, what)
	}
	return w
}

// Describe implements prometheus.Collector.
func (w *Work) Describe(out chan<- *prometheus.Desc) {
	for _, c := range w.collectors() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (w *Work) Collect(out chan<- prometheus.Metric) {
	for _, c := range w.collectors() {
		c.Collect(out)
	}
}

func (w *Work) collectors() []prometheus.Collector {
	return []prometheus.Collector{w.repairs, w.refusals, w.reconciles, w.requests}
}

// Repaired counts a repair: of what an object of this kind owns.
func (w *Work) Repaired(kind, what string) {
	if w != nil {
		w.repairs.WithLabelValues(kind, what).Inc()
	}
}

// Requested counts a request to NATS.
func (w *Work) Requested(verb, outcome string, took time.Duration) {
	if w != nil {
		w.requests.WithLabelValues(verb, outcome).Observe(took.Seconds())
	}
}

// Reconciling is called when a pass over an object begins; what it returns, when the pass ends. conditions are those of the
// object, which the pass changes.
func (w *Work) Reconciling(kind string, object metav1.Object, conditions *[]metav1.Condition, err *error) (done func()) {
	if w == nil {
		return func() {}
	}
	before := refused(*conditions)
	return func() {
		w.reconciles.WithLabelValues(kind, outcome(object, *conditions, *err)).Inc()
		if !before && refused(*conditions) {
			w.refusals.WithLabelValues(kind).Inc()
		}
	}
}

func refused(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonInvalid
}

func outcome(object metav1.Object, conditions []metav1.Condition, err error) string {
	switch {
	case err != nil:
		return outcomeError
	case !object.GetDeletionTimestamp().IsZero():
		return outcomeDeleting
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
		return outcomeReady
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return outcomeStalled
	}
	return outcomeWaiting
}
