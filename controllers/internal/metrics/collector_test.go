package metrics

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: 1}
}

func pipeline(conditions ...metav1.Condition) v1alpha1.Pipeline {
	return v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", Generation: 1, UID: "p"},
		Status:     v1alpha1.PipelineStatus{Conditions: conditions},
	}
}

// stage is a child of pipeline.
func stage(name string, conditions ...metav1.Condition) v1alpha1.Stage {
	p := pipeline()
	s := v1alpha1.Stage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "orders-" + name, Generation: 1,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&p, v1alpha1.GroupVersion.WithKind("Pipeline"))},
	}}
	s.Spec.PipelineRef.Name, s.Spec.Name = "orders", name
	s.Status.Conditions = conditions
	return s
}

// fixed shows the same objects at every scrape.
type fixed struct {
	pipelines []v1alpha1.Pipeline
	stages    []v1alpha1.Stage
}

func (f fixed) Describe(descs chan<- *prometheus.Desc)   { (&Collector{}).Describe(descs) }
func (f fixed) Collect(metrics chan<- prometheus.Metric) { show(metrics, f.pipelines, f.stages) }

// gathered are the series, as "name values value".
func gathered(t *testing.T, f fixed) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry() // checks what it is given
	registry.MustRegister(f)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			words := []string{strings.TrimPrefix(family.GetName(), "millrace_")}
			for _, l := range m.GetLabel() {
				words = append(words, l.GetValue())
			}
			all = append(all, strings.Join(append(words, strconv.FormatFloat(m.GetGauge().GetValue(), 'f', -1, 64)), " "))
		}
	}
	return all
}

func TestPipeline(t *testing.T) {
	healthy := pipeline(condition("StreamsReady", "True", "Ready"), condition("Ready", "True", "Ready"))
	healthy.Status.Streams = []v1alpha1.StreamStatus{{Name: "RAW", Messages: 7, Bytes: 900}}
	edited := pipeline(condition("Ready", "True", "Ready"))
	edited.Generation = 2
	suspended := pipeline(condition("Ready", "True", "Suspended"))
	suspended.Spec.Suspend = true
	for name, c := range map[string]struct {
		pipeline v1alpha1.Pipeline
		want     []string
	}{
		"healthy": {healthy, []string{
			"pipeline_condition Ready shop/orders Ready True 1", "pipeline_condition StreamsReady shop/orders Ready True 1",
			"pipeline_nats_connected shop/orders 1", "pipeline_ready shop/orders 1", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 0",
			"stream_bytes shop/orders RAW 900", "stream_messages shop/orders RAW 7",
		}},
		"new": {pipeline(), []string{"pipeline_ready shop/orders 0", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 0"}},
		"edited": {edited, []string{
			"pipeline_condition Ready shop/orders Ready True 1", "pipeline_ready shop/orders 0", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 0",
		}},
		"suspended": {suspended, []string{
			"pipeline_condition Ready shop/orders Suspended True 1", "pipeline_ready shop/orders 1", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 1",
		}},
		"without NATS": {pipeline(condition("StreamsReady", "False", "NATSUnreachable")), []string{
			"pipeline_condition StreamsReady shop/orders NATSUnreachable False 1",
			"pipeline_nats_connected shop/orders 0", "pipeline_ready shop/orders 0", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 0",
		}},
		"without credentials": {pipeline(condition("StreamsReady", "False", "CredentialsNotFound")), []string{
			"pipeline_condition StreamsReady shop/orders CredentialsNotFound False 1",
			"pipeline_nats_connected shop/orders 0", "pipeline_ready shop/orders 0", "pipeline_stalled shop/orders 0", "pipeline_suspended shop/orders 0",
		}},
		"refused, so that NATS was not asked": {pipeline(condition("StreamsReady", "Unknown", "Invalid"), condition("Stalled", "True", "Invalid")), []string{
			"pipeline_condition Stalled shop/orders Invalid True 1", "pipeline_condition StreamsReady shop/orders Invalid Unknown 1",
			"pipeline_ready shop/orders 0", "pipeline_stalled shop/orders 1", "pipeline_suspended shop/orders 0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, gathered(t, fixed{pipelines: []v1alpha1.Pipeline{c.pipeline}})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestStage(t *testing.T) {
	busy := stage("enrich", condition("ConsumersReady", "True", "Ready"), condition("Ready", "True", "Ready"))
	busy.Status.Lag, busy.Status.LagSeconds, busy.Status.Replicas, busy.Status.ReadyWorkers = new(int64(1200)), new(int64(3)), 2, 1
	busy.Status.Consumers = []v1alpha1.ConsumerStatus{{Pending: 4, AckPending: 2, Redelivered: 1}, {Pending: 1}}
	cut := *busy.DeepCopy()
	cut.Status.Conditions = []metav1.Condition{condition("ConsumersReady", "False", "NATSUnreachable"), condition("Ready", "False", "NATSUnreachable")}
	numbers := func(all []string) []string {
		return slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "stage_condition ") })
	}
	for name, c := range map[string]struct {
		stage v1alpha1.Stage
		want  []string
	}{
		"busy": {busy, []string{
			"stage_ack_pending_frames shop/orders enrich 2", "stage_lag_events shop/orders enrich 1200", "stage_lag_seconds shop/orders enrich 3",
			"stage_pending_frames shop/orders enrich 5", "stage_ready shop/orders enrich 1", "stage_redelivered_frames shop/orders enrich 1",
			"stage_suspended shop/orders enrich 0", "stage_workers shop/orders enrich 2", "stage_workers_ready shop/orders enrich 1",
		}},
		"old numbers are not shown": {cut, []string{
			"stage_ready shop/orders enrich 0", "stage_suspended shop/orders enrich 0", "stage_workers shop/orders enrich 2", "stage_workers_ready shop/orders enrich 1",
		}},
		"suspended": {stage("enrich", condition("Ready", "True", "Suspended")), []string{
			"stage_ready shop/orders enrich 1", "stage_suspended shop/orders enrich 1", "stage_workers shop/orders enrich 0", "stage_workers_ready shop/orders enrich 0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, numbers(gathered(t, fixed{stages: []v1alpha1.Stage{c.stage}}))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAStageThatTakesAName: a Stage attached under the name of a child is refused; it must not make series twice, for which a
// whole scrape fails.
func TestAStageThatTakesAName(t *testing.T) {
	child, intruder := stage("enrich"), stage("enrich")
	child.Status.Replicas = 2
	intruder.Name, intruder.OwnerReferences = "enrich-too", nil
	got := gathered(t, fixed{stages: []v1alpha1.Stage{intruder, child}})
	if !slices.Contains(got, "stage_workers shop/orders enrich 2") {
		t.Errorf("got %v, want the child's", got)
	}
}

func TestOnlyTheLeaderShowsThem(t *testing.T) {
	out := make(chan prometheus.Metric, 10)
	New(t.Context(), Options{Elected: make(chan struct{})}).Collect(out)
	if len(out) != 1 {
		t.Errorf("got %d metrics of an operator that does not lead, want operator_leader alone", len(out))
	}
}
