package stage

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

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
	"millrace.dev/millrace/test/golden"
)

// scaled is the snapshot of the stage enrich, which has eight lanes, with the given workers.
func scaled(t *testing.T, backend scaling.Backend, workers v1alpha1.WorkersSpec) *snapshot {
	t.Helper()
	s := snap(t, pipeline(func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers = workers }), child("enrich"))
	s.backend = backend
	return s
}

// measured is a reading that calls for n workers.
func measured(n int32) reading {
	return reading{measured: true, Reading: lag.Reading{Scales: true, Settled: n, Wanted: scaling.Decision{Workers: n, Reason: "because"}}}
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
	settings := settings
	settings.ScaleDownWindow = 5 * time.Minute
	for name, workers := range map[string]v1alpha1.WorkersSpec{
		"autoscaler-lag":   {Max: 4, TargetLag: 20_000},
		"autoscaler-drain": {Min: new(int32(0)), Max: 100, TargetDrain: &metav1.Duration{Duration: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			in := decide(scaled(t, scaling.External, workers), "", settings)
			if in.workers.deployment.Spec.Replicas != nil {
				t.Error("the Deployment speaks of replicas, which the autoscaler sets")
			}
			golden.Check(t, filepath.Join("testdata", name+".yaml"), document(t, in.workers.autoscaling.hpa))
			in = decide(scaled(t, scaling.Prometheus, workers), "", settings)
			golden.Check(t, filepath.Join("testdata", name+"-prometheus.yaml"), document(t, in.workers.autoscaling.hpa))
			settings.ReadingsURL = "http://millrace-metrics.millrace-system.svc:8080" + lag.ReadingsPath
			in = decide(scaled(t, scaling.KEDA, workers), "", settings)
			if in.workers.deployment.Spec.Replicas != nil || in.workers.autoscaling.hpa != nil {
				t.Error("KEDA is not alone with the number")
			}
			golden.Check(t, filepath.Join("testdata", name+"-keda.yaml"), document(t, in.workers.autoscaling.scaledObject))
		})
	}
}

// TestWhoSetsTheNumber: what the operator writes itself, and whether there is an autoscaler.
func TestWhoSetsTheNumber(t *testing.T) {
	many := v1alpha1.WorkersSpec{Max: 4}
	zero := v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 4}
	tests := map[string]struct {
		backend    scaling.Backend
		workers    v1alpha1.WorkersSpec
		deployment *appsv1.Deployment
		reading    reading
		change     func(*snapshot)
		// hpa, keda and leave are those of autoscaling; set is -1 where the operator writes nothing.
		hpa, keda, leave bool
		set              int32
	}{
		"new":                             {backend: scaling.External, workers: many, hpa: true, leave: true, set: -1},
		"running":                         {backend: scaling.External, workers: many, deployment: running(3, false), reading: measured(4), hpa: true, leave: true, set: -1},
		"was fixed":                       {backend: scaling.External, workers: many, deployment: running(3, true), hpa: true, leave: true, set: 3},
		"was suspended":                   {backend: scaling.External, workers: many, deployment: running(0, true), hpa: true, leave: true, set: 1},
		"somebody took all workers":       {backend: scaling.External, workers: many, deployment: running(0, false), hpa: true, leave: true, set: 1},
		"asleep":                          {backend: scaling.External, workers: zero, deployment: running(0, false), reading: measured(0), hpa: true, leave: true, set: -1},
		"asleep, lag not known":           {backend: scaling.External, workers: zero, deployment: running(0, false), hpa: true, leave: true, set: -1},
		"wakes":                           {backend: scaling.External, workers: zero, deployment: running(0, false), reading: measured(3), hpa: true, leave: true, set: 3},
		"goes to sleep":                   {backend: scaling.External, workers: zero, deployment: running(1, false), reading: measured(0), hpa: true, leave: true, set: 0},
		"one worker, from zero":           {backend: scaling.External, workers: v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 1}, deployment: running(0, false), reading: measured(1), leave: true, set: 1},
		"one worker, but more run":        {backend: scaling.External, workers: v1alpha1.WorkersSpec{Max: 1}, deployment: running(3, false), reading: measured(1), leave: true, set: 1},
		"prometheus, wakes":               {backend: scaling.Prometheus, workers: zero, deployment: running(0, false), reading: measured(3), hpa: true, leave: true, set: 3},
		"keda, new":                       {backend: scaling.KEDA, workers: many, keda: true, leave: true, set: -1},
		"keda, running":                   {backend: scaling.KEDA, workers: many, deployment: running(3, false), reading: measured(4), keda: true, leave: true, set: -1},
		"keda, was fixed":                 {backend: scaling.KEDA, workers: many, deployment: running(3, true), keda: true, leave: true, set: 3},
		"keda, somebody took all workers": {backend: scaling.KEDA, workers: many, deployment: running(0, false), keda: true, leave: true, set: 1},
		"keda, asked to have none": {
			backend: scaling.KEDA, workers: many, deployment: running(0, false), keda: true, leave: true, set: -1,
			change: func(s *snapshot) { s.scaledObject = scaledObject("True", "", "") },
		},
		"keda wakes":                       {backend: scaling.KEDA, workers: zero, deployment: running(0, false), reading: measured(3), keda: true, leave: true, set: -1},
		"keda goes to sleep":               {backend: scaling.KEDA, workers: zero, deployment: running(1, false), reading: measured(0), keda: true, leave: true, set: -1},
		"keda, one worker, from zero":      {backend: scaling.KEDA, workers: v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 1}, deployment: running(0, false), reading: measured(1), keda: true, leave: true, set: -1},
		"keda, one worker, but more run":   {backend: scaling.KEDA, workers: v1alpha1.WorkersSpec{Max: 1}, deployment: running(3, false), reading: measured(1), leave: true, set: 1},
		"direct, new":                      {backend: scaling.Direct, workers: many, set: 1},
		"direct, new, of several":          {backend: scaling.Direct, workers: v1alpha1.WorkersSpec{Min: new(int32(2)), Max: 4}, set: 2},
		"direct":                           {backend: scaling.Direct, workers: many, deployment: running(1, true), reading: measured(4), set: 4},
		"direct, lag not known":            {backend: scaling.Direct, workers: many, deployment: running(3, true), set: 3},
		"direct, bounds changed meanwhile": {backend: scaling.Direct, workers: many, deployment: running(7, true), set: 4},
		"direct, to zero":                  {backend: scaling.Direct, workers: zero, deployment: running(1, true), reading: measured(0), set: 0},
		"direct, the lag was known": {
			backend: scaling.Direct, workers: many, deployment: running(3, true), set: 3,
			reading: reading{measured: true, Reading: lag.Reading{Scales: true, Settled: 1, Err: errors.New("NATS is away")}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := scaled(t, test.backend, test.workers)
			s.deployment, s.reading = test.deployment, test.reading
			if test.change != nil {
				test.change(s)
			}
			a, err := autoscalingFor(s, settings)
			if err != nil || a == nil {
				t.Fatalf("the number is fixed: %v", err)
			}
			set := int32(-1)
			if a.set != nil {
				set = *a.set
			}
			if (a.hpa != nil) != test.hpa || (a.scaledObject != nil) != test.keda || a.leave != test.leave || set != test.set {
				t.Errorf("got autoscaler %t, KEDA %t, leave %t, set %d (%s); want %t, %t, %t, %d", a.hpa != nil, a.scaledObject != nil, a.leave, set, a.why, test.hpa, test.keda, test.leave, test.set)
			}
		})
	}
}

// TestFixedNumbers: nobody scales a stage without max, one that is suspended, or one whose replicas are held.
func TestFixedNumbers(t *testing.T) {
	for name, change := range map[string]func(*snapshot){
		"no max":    func(s *snapshot) { s.newest.Workers.Max = 0 },
		"none":      func(s *snapshot) { s.backend = scaling.None },
		"suspended": func(s *snapshot) { s.newest.Suspended = true },
		"held":      func(s *snapshot) { s.stage.Spec.Replicas = new(int32(3)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := scaled(t, scaling.External, v1alpha1.WorkersSpec{Max: 4})
			s.deployment, s.reading = running(2, false), measured(4)
			change(s)
			in := decide(s, "", settings)
			if in.workers.autoscaling != nil || in.workers.deployment.Spec.Replicas == nil {
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
		change func(*snapshot)
		want   string
	}{
		"works":           {4, func(*snapshot) {}, "True Autoscaling: HorizontalPodAutoscaler obs-enrich sets 1 to 4 workers"},
		"more than lanes": {40, func(*snapshot) {}, "sets 1 to 8 workers"},
		"direct":          {4, func(s *snapshot) { s.backend = scaling.Direct }, "True Autoscaling: the operator sets 1 to 4 workers"},
		"foreign": {4, func(s *snapshot) {
			s.backend, s.backendWhy = scaling.Direct, troubleOf(lag.Foreign, "APIService x belongs to keda/keda")
		}, "False ForeignMetricsAPI: APIService x belongs to keda/keda; the operator sets the number of workers itself"},
		"unreachable":              {4, func(s *snapshot) { s.backendWhy = troubleOf(lag.Unavailable, "no way") }, "False MetricsUnavailable: no way"},
		"absent":                   {4, func(s *snapshot) { s.backendWhy = troubleOf(lag.Absent, "none") }, "False NoMetricsAPI: none; the operator sets"},
		"autoscaler fails":         {4, func(s *snapshot) { s.hpa = broken }, "False MetricsUnavailable: HorizontalPodAutoscaler : no answer"},
		"asleep":                   {4, func(s *snapshot) { s.hpa = asleep }, "True Autoscaling"},
		"KEDA":                     {4, func(s *snapshot) { s.backend = scaling.KEDA }, "True Autoscaling: KEDA (ScaledObject obs-enrich) sets 1 to 4 workers"},
		"KEDA cannot":              {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, refused }, "False MetricsUnavailable: ScaledObject obs-enrich: no answer"},
		"KEDA cannot in part":      {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, partly }, "False MetricsUnavailable: ScaledObject obs-enrich: no answer of one"},
		"KEDA's autoscaler cannot": {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, off }, "False MetricsUnavailable: ScaledObject obs-enrich: the server is away"},
		"KEDA's autoscaler rests":  {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, resting }, "True Autoscaling: KEDA"},
		"KEDA goes":                {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, leaving }, "False MetricsUnavailable: ScaledObject obs-enrich: it is being deleted"},
		"KEDA has not looked":      {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, unseen }, "True Autoscaling: KEDA"},
		"KEDA is paused":           {4, func(s *snapshot) { s.backend, s.scaledObject = scaling.KEDA, paused }, "True Paused: ScaledObject obs-enrich is paused"},
		"no KEDA": {4, func(s *snapshot) {
			s.backend, s.backendWhy = scaling.Direct, backendTrouble{v1alpha1.ReasonNoKEDA, noKEDA}
		}, "False NoKEDA: the cluster does not have the kind ScaledObject (keda.sh/v1alpha1): install KEDA; the operator sets"},
		"lag not known": {4, func(s *snapshot) {
			s.reading = reading{measured: true, Reading: lag.Reading{Err: errors.New("NATS is away")}}
		}, "False MetricsUnavailable: the lag is not known, so the number stays: NATS is away"},
		"none":       {4, func(s *snapshot) { s.backend = scaling.None }, "False AutoscalingOff: the operator runs with --autoscaling-backend=none"},
		"held":       {4, func(s *snapshot) { s.stage.Spec.Replicas = new(int32(3)) }, "True ReplicasHeld: spec.replicas holds 3 workers"},
		"one worker": {1, func(*snapshot) {}, "True OneWorkerEnough: 1 to 1 workers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := scaled(t, scaling.External, v1alpha1.WorkersSpec{Max: test.max})
			test.change(s)
			in := decide(s, "", settings)
			v := autoscalingReady(report{seen: s, intent: in})
			if v == nil {
				t.Fatal("no condition")
			}
			if got := string(v.Status) + " " + v.Reason + ": " + v.Message; !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	if v := autoscalingReady(report{seen: snap(t, pipeline(nil), child("enrich")), intent: intent{workers: &workers{}}}); v != nil {
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
