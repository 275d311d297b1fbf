package autoscale

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
	"millrace.dev/millrace/test/golden"
	"millrace.dev/millrace/workers/config"
)

// backends are those that tests choose from.
var (
	external   = NewExternal(nil, 5*time.Minute).hpa
	prometheus = NewPrometheus(5 * time.Minute)
	withKEDA   = KEDA{Down: 5 * time.Minute, ReadingsURL: "http://millrace-metrics.millrace-system.svc:8080" + lag.ReadingsPath}
)

// scaled is the stage enrich, which has eight lanes, with the given workers.
func scaled(workers v1alpha1.WorkersSpec) Workload {
	return Workload{
		Stage: &v1alpha1.Stage{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "obs-enrich", UID: "stage-uid"},
			Spec:       v1alpha1.StageSpec{PipelineRef: v1alpha1.PipelineRef{Name: "obs"}, Name: "enrich"},
		},
		Revision: &revision.Revision{Content: revision.Content{Kind: config.KindEnrich, Lanes: 8, Workers: workers}},
	}
}

// measured is a reading that calls for n workers.
func measured(n int32) *lag.Reading {
	return &lag.Reading{Scales: true, Settled: n, Wanted: scaling.Decision{Workers: n, Reason: "because"}}
}

// decided is what a backend decides.
func decided(t *testing.T, w Workload, o *Observed) *Desired {
	t.Helper()
	d, err := Decide(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func running(n int32, ours bool) *appsv1.Deployment {
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &n}}
	fields := `{"f:spec":{"f:template":{}}}`
	if ours {
		fields = `{"f:spec":{"f:replicas":{},"f:template":{}}}`
	}
	d.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: string(apply.FieldOwner), Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(fields),
	}}
	return d
}

func TestAutoscalerGolden(t *testing.T) {
	for name, workers := range map[string]v1alpha1.WorkersSpec{
		"autoscaler-lag":   {Max: 4, TargetLag: 20_000},
		"autoscaler-drain": {Min: new(int32(0)), Max: 100, TargetDrain: &metav1.Duration{Duration: time.Minute}},
	} {
		for suffix, backend := range map[string]Backend{"": external, "-prometheus": prometheus, "-keda": withKEDA} {
			t.Run(name+suffix, func(t *testing.T) {
				d := decided(t, scaled(workers), &Observed{Backend: backend})
				if !d.Leave {
					t.Error("the Deployment speaks of replicas, which the autoscaler sets")
				}
				got, err := yaml.Marshal(d.Object)
				if err != nil {
					t.Fatal(err)
				}
				golden.Check(t, filepath.Join("testdata", name+suffix+".yaml"), string(got))
			})
		}
	}
}

// TestWhoSetsTheNumber: what the operator writes itself, and whether there is an autoscaler.
func TestWhoSetsTheNumber(t *testing.T) {
	many := v1alpha1.WorkersSpec{Max: 4}
	zero := v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 4}
	tests := map[string]struct {
		backend    Backend
		workers    v1alpha1.WorkersSpec
		deployment *appsv1.Deployment
		reading    *lag.Reading
		change     func(*Observed)
		// hpa, keda and leave are those of autoscaling; set is -1 where the operator writes nothing.
		hpa, keda, leave bool
		set              int32
	}{
		"new":                             {backend: external, workers: many, hpa: true, leave: true, set: -1},
		"running":                         {backend: external, workers: many, deployment: running(3, false), reading: measured(4), hpa: true, leave: true, set: -1},
		"was fixed":                       {backend: external, workers: many, deployment: running(3, true), hpa: true, leave: true, set: 3},
		"was suspended":                   {backend: external, workers: many, deployment: running(0, true), hpa: true, leave: true, set: 1},
		"somebody took all workers":       {backend: external, workers: many, deployment: running(0, false), hpa: true, leave: true, set: 1},
		"asleep":                          {backend: external, workers: zero, deployment: running(0, false), reading: measured(0), hpa: true, leave: true, set: -1},
		"asleep, lag not known":           {backend: external, workers: zero, deployment: running(0, false), hpa: true, leave: true, set: -1},
		"wakes":                           {backend: external, workers: zero, deployment: running(0, false), reading: measured(3), hpa: true, leave: true, set: 3},
		"goes to sleep":                   {backend: external, workers: zero, deployment: running(1, false), reading: measured(0), hpa: true, leave: true, set: 0},
		"one worker, from zero":           {backend: external, workers: v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 1}, deployment: running(0, false), reading: measured(1), leave: true, set: 1},
		"one worker, but more run":        {backend: external, workers: v1alpha1.WorkersSpec{Max: 1}, deployment: running(3, false), reading: measured(1), leave: true, set: 1},
		"prometheus, wakes":               {backend: prometheus, workers: zero, deployment: running(0, false), reading: measured(3), hpa: true, leave: true, set: 3},
		"keda, new":                       {backend: withKEDA, workers: many, keda: true, leave: true, set: -1},
		"keda, running":                   {backend: withKEDA, workers: many, deployment: running(3, false), reading: measured(4), keda: true, leave: true, set: -1},
		"keda, was fixed":                 {backend: withKEDA, workers: many, deployment: running(3, true), keda: true, leave: true, set: 3},
		"keda, somebody took all workers": {backend: withKEDA, workers: many, deployment: running(0, false), keda: true, leave: true, set: 1},
		"keda, asked to have none": {
			backend: withKEDA, workers: many, deployment: running(0, false), keda: true, leave: true, set: -1,
			change: func(o *Observed) { o.ScaledObject = scaledObject("True", "", "") },
		},
		"keda wakes":                       {backend: withKEDA, workers: zero, deployment: running(0, false), reading: measured(3), keda: true, leave: true, set: -1},
		"keda goes to sleep":               {backend: withKEDA, workers: zero, deployment: running(1, false), reading: measured(0), keda: true, leave: true, set: -1},
		"keda, one worker, from zero":      {backend: withKEDA, workers: v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 1}, deployment: running(0, false), reading: measured(1), keda: true, leave: true, set: -1},
		"keda, one worker, but more run":   {backend: withKEDA, workers: v1alpha1.WorkersSpec{Max: 1}, deployment: running(3, false), reading: measured(1), leave: true, set: 1},
		"direct, new":                      {backend: Direct{}, workers: many, set: 1},
		"direct, new, of several":          {backend: Direct{}, workers: v1alpha1.WorkersSpec{Min: new(int32(2)), Max: 4}, set: 2},
		"direct":                           {backend: Direct{}, workers: many, deployment: running(1, true), reading: measured(4), set: 4},
		"direct, lag not known":            {backend: Direct{}, workers: many, deployment: running(3, true), set: 3},
		"direct, bounds changed meanwhile": {backend: Direct{}, workers: many, deployment: running(7, true), set: 4},
		"direct, to zero":                  {backend: Direct{}, workers: zero, deployment: running(1, true), reading: measured(0), set: 0},
		"direct, the lag was known": {
			backend: Direct{}, workers: many, deployment: running(3, true), set: 3,
			reading: &lag.Reading{Scales: true, Settled: 1, Err: errors.New("NATS is away")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, o := scaled(test.workers), &Observed{Backend: test.backend, Reading: test.reading}
			w.Deployment = test.deployment
			if test.change != nil {
				test.change(o)
			}
			d := decided(t, w, o)
			if d == nil {
				t.Fatal("the number is fixed")
			}
			set := int32(-1)
			if d.Replicas != nil {
				set = *d.Replicas
			}
			if (d.Kind == kindHPA) != test.hpa || (d.Kind == kindScaledObject) != test.keda || d.Leave != test.leave || set != test.set {
				t.Errorf("got object %q, leave %t, set %d (%s); want autoscaler %t, KEDA %t, leave %t, set %d", d.Kind, d.Leave, set, d.Reason, test.hpa, test.keda, test.leave, test.set)
			}
		})
	}
}

// TestFixedNumbers: nobody scales a stage without max, one that is suspended, or one whose replicas are held.
func TestFixedNumbers(t *testing.T) {
	for name, change := range map[string]func(*Workload, *Observed){
		"no max":    func(w *Workload, _ *Observed) { w.Revision.Workers.Max = 0 },
		"none":      func(_ *Workload, o *Observed) { o.Backend = None{} },
		"suspended": func(w *Workload, _ *Observed) { w.Revision.Suspended = true },
		"held":      func(w *Workload, _ *Observed) { w.Stage.Spec.Replicas = new(int32(3)) },
	} {
		t.Run(name, func(t *testing.T) {
			w, o := scaled(v1alpha1.WorkersSpec{Max: 4}), &Observed{Backend: external, Reading: measured(4)}
			w.Deployment = running(2, false)
			change(&w, o)
			if d := decided(t, w, o); d != nil {
				t.Error("the number is not fixed")
			}
		})
	}
}

// scaledObject is what KEDA makes of one.
func scaledObject(ready, reason, message string, more ...any) *unstructured.Unstructured {
	object := keda.New()
	object.SetName("obs-enrich")
	object.Object["status"] = map[string]any{"conditions": append([]any{
		map[string]any{"type": "Active", "status": "False", "message": "inactive"},
		map[string]any{"type": "Ready", "status": ready, "reason": reason, "message": message},
	}, more...)}
	return object
}

func TestAutoscalingReady(t *testing.T) {
	broken := &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetExternalMetric", Message: "no answer"}},
	}}
	asleep := broken.DeepCopy()
	asleep.Status.Conditions[0].Reason = "ScalingDisabled"
	refused, partly := scaledObject("False", "TriggerError", "no answer"), scaledObject("Unknown", "PartialTriggerError", "no answer of one")
	off := scaledObject("True", "ScaledObjectReady", "", map[string]any{"type": "HPAActive", "status": "False", "reason": "FailedGetExternalMetric", "message": "the server is away"})
	resting := scaledObject("True", "ScaledObjectReady", "", map[string]any{"type": "HPAActive", "status": "False", "reason": "ScalingDisabled", "message": "scaling is disabled"})
	leaving := scaledObject("True", "", "")
	leaving.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)})
	unseen := scaledObject("Unknown", "", "")
	paused := scaledObject("True", "ScaledObjectReady", "defined correctly", map[string]any{"type": "Paused", "status": "True"})
	tests := map[string]struct {
		max    int32
		change func(*Workload, *Observed)
		want   string
	}{
		"works":           {4, func(*Workload, *Observed) {}, "True Autoscaling: HorizontalPodAutoscaler obs-enrich sets 1 to 4 workers"},
		"more than lanes": {40, func(*Workload, *Observed) {}, "sets 1 to 8 workers"},
		"direct":          {4, func(_ *Workload, o *Observed) { o.Backend = Direct{} }, "True Autoscaling: the operator sets 1 to 4 workers"},
		"foreign": {4, func(_ *Workload, o *Observed) {
			o.Backend, o.Trouble = Direct{}, troubleOf(lag.Foreign, "APIService x belongs to keda/keda")
		}, "False ForeignMetricsAPI: APIService x belongs to keda/keda; the operator sets the number of workers itself"},
		"unreachable":              {4, func(_ *Workload, o *Observed) { o.Trouble = troubleOf(lag.Unavailable, "no way") }, "False MetricsUnavailable: no way"},
		"absent":                   {4, func(_ *Workload, o *Observed) { o.Trouble = troubleOf(lag.Absent, "none") }, "False NoMetricsAPI: none; the operator sets"},
		"autoscaler fails":         {4, func(_ *Workload, o *Observed) { o.HPA = broken }, "False MetricsUnavailable: HorizontalPodAutoscaler : no answer"},
		"asleep":                   {4, func(_ *Workload, o *Observed) { o.HPA = asleep }, "True Autoscaling"},
		"KEDA":                     {4, func(_ *Workload, o *Observed) { o.Backend = withKEDA }, "True Autoscaling: KEDA (ScaledObject obs-enrich) sets 1 to 4 workers"},
		"KEDA cannot":              {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, refused }, "False MetricsUnavailable: ScaledObject obs-enrich: no answer"},
		"KEDA cannot in part":      {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, partly }, "False MetricsUnavailable: ScaledObject obs-enrich: no answer of one"},
		"KEDA's autoscaler cannot": {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, off }, "False MetricsUnavailable: ScaledObject obs-enrich: the server is away"},
		"KEDA's autoscaler rests":  {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, resting }, "True Autoscaling: KEDA"},
		"KEDA goes":                {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, leaving }, "False MetricsUnavailable: ScaledObject obs-enrich: it is being deleted"},
		"KEDA has not looked":      {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, unseen }, "True Autoscaling: KEDA"},
		"KEDA is paused":           {4, func(_ *Workload, o *Observed) { o.Backend, o.ScaledObject = withKEDA, paused }, "True Paused: ScaledObject obs-enrich is paused"},
		"no KEDA": {4, func(_ *Workload, o *Observed) {
			o.Backend, o.Trouble = Direct{}, Trouble{v1alpha1.ReasonNoKEDA, noKEDA}
		}, "False NoKEDA: the cluster does not have the kind ScaledObject (keda.sh/v1alpha1): install KEDA; the operator sets"},
		"lag not known": {4, func(_ *Workload, o *Observed) {
			o.Reading = &lag.Reading{Err: errors.New("NATS is away")}
		}, "False MetricsUnavailable: the lag is not known, so the number stays: NATS is away"},
		"none":       {4, func(_ *Workload, o *Observed) { o.Backend = None{} }, "False AutoscalingOff: the operator runs with --autoscaling-backend=none"},
		"held":       {4, func(w *Workload, _ *Observed) { w.Stage.Spec.Replicas = new(int32(3)) }, "True ReplicasHeld: spec.replicas holds 3 workers"},
		"one worker": {1, func(*Workload, *Observed) {}, "True OneWorkerEnough: 1 to 1 workers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, o := scaled(v1alpha1.WorkersSpec{Max: test.max}), &Observed{Backend: external}
			test.change(&w, o)
			v := Ready(w, o, decided(t, w, o), "")
			if v == nil {
				t.Fatal("no condition")
			}
			if got := string(v.Status) + " " + v.Reason + ": " + v.Message; !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	if v := Ready(scaled(v1alpha1.WorkersSpec{}), &Observed{Backend: external}, nil, ""); v != nil {
		t.Errorf("nobody asked for it, but there is %v", v)
	}
}

func TestRounded(t *testing.T) {
	for x, want := range map[float64]int64{0: 0, 0.4: 0, 7.4: 7, 12.4: 12, 123: 120, 98_700: 99_000, 1_234_567: 1_200_000} {
		if got := rounded(x); got != want {
			t.Errorf("%v: got %d, want %d", x, got, want)
		}
	}
}
