package stage

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
)

// autoscaling is what a stage's number of workers follows.
type autoscaling struct {
	policy scaling.Policy
	// hpa is nil where none helps: the operator sets the number, or one worker is all that the lanes need.
	hpa *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration
	// scaledObject is what KEDA goes by; nil with another backend.
	scaledObject *unstructured.Unstructured
	// leave says that the operator's apply of the Deployment must not speak of the number: others set it.
	leave bool
	// set is the number to write now; nil where what is there is right.
	set *int32
	// why set.
	why string
}

// autoscalingFor decides about the workers of a stage; nil when their number is fixed.
func autoscalingFor(s *snapshot, settings Settings) (*autoscaling, error) {
	policy, ok := scaling.PolicyOf(s.newest.Workers, s.newest.Lanes)
	if !ok || s.backend == scaling.None || s.newest.Suspended || s.stage.Spec.Replicas != nil {
		return nil, nil //nolint:nilnil // no error: the number is fixed
	}
	a := &autoscaling{policy: policy}
	if s.backend == scaling.Direct {
		n, why := directly(s, policy)
		a.set, a.why = &n, why
		return a, nil
	}
	a.leave = true
	switch least := max(policy.Min, 1); {
	case s.backend == scaling.KEDA && policy.Useful() > policy.Min: // from and to zero it is KEDA's, too
		var err error
		if a.scaledObject, err = scaledObjectFor(s, policy, settings); err != nil {
			return nil, err
		}
	case s.backend != scaling.KEDA && policy.Useful() > least:
		a.hpa = hpaFor(s, policy, settings.ScaleDownWindow)
	}
	if s.deployment != nil {
		a.set, a.why = a.nudge(s)
	}
	return a, nil
}

// directly is the number of workers where the operator sets it: while the lag is not known, as many as
// there are.
func directly(s *snapshot, policy scaling.Policy) (n int32, why string) {
	least := max(policy.Min, 1)
	switch {
	case s.reading.known():
		return s.reading.Settled, s.reading.Wanted.Reason
	case s.deployment == nil:
		return least, "a new stage"
	default:
		n = specReplicas(s.deployment)
		return max(min(n, policy.Useful()), policy.Min), "the lag is not known"
	}
}

// nudge is the number that the operator writes although somebody else sets it: beside a HorizontalPodAutoscaler
// from zero and to zero, which not every cluster's can, and when the number was the operator's own until now.
func (a *autoscaling) nudge(s *snapshot) (set *int32, why string) {
	policy, have := a.policy, specReplicas(s.deployment)
	least := max(policy.Min, 1)
	known := s.reading.known() && s.backend != scaling.KEDA
	switch {
	case have == 0 && policy.Min > 0 && (a.scaledObject == nil || s.scaledObject == nil): // KEDA may have been asked to
		return new(least), "none of the workers was left; use suspend to stop a stage"
	case have == 0 && known && s.reading.Settled > 0:
		return new(s.reading.Settled), s.reading.Wanted.Reason
	case have > 0 && policy.Min == 0 && known && s.reading.Settled == 0:
		return new(int32(0)), s.reading.Wanted.Reason
	case ownsReplicas(s.deployment):
		return new(have), ""
	// Where nobody else sets it there is one right number beside zero.
	case a.hpa == nil && a.scaledObject == nil && have > 0 && have != least:
		return new(least), "more do not help: the stage has no more lanes"
	}
	return nil, ""
}

// known says whether a reading says how many workers there should be.
func (r reading) known() bool { return r.measured && r.Err == nil && r.Scales }

// reading is the newest of a stage; measured is false when there is none.
type reading struct {
	lag.Reading
	measured bool
}

func specReplicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// hpaFor is the HorizontalPodAutoscaler of a stage. It takes the larger of two numbers: what the lag calls
// for, and what the operator wants, which also knows what comes in.
func hpaFor(s *snapshot, policy scaling.Policy, down time.Duration) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	named := metricsOf(s)
	metrics := []*autoscalingv2ac.MetricSpecApplyConfiguration{metric(named.wanted, named.selector, 1)}
	if target := policy.Target(); target > 0 {
		metrics = append([]*autoscalingv2ac.MetricSpecApplyConfiguration{metric(named.lag, named.selector, target)}, metrics...)
	}
	return autoscalingv2ac.HorizontalPodAutoscaler(s.stage.Name, s.stage.Namespace).
		WithLabels(workerLabels(s)).
		WithOwnerReferences(apply.ControlledBy("Stage", s.stage)).
		WithSpec(autoscalingv2ac.HorizontalPodAutoscalerSpec().
			WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().
				WithAPIVersion(appsv1.SchemeGroupVersion.String()).WithKind("Deployment").WithName(s.stage.Name)).
			WithMinReplicas(max(policy.Min, 1)).
			WithMaxReplicas(policy.Useful()).
			WithMetrics(metrics...).
			WithBehavior(behavior(down)))
}

// behavior is how fast: up at once, to twice as many or by four in 15 s; down when nobody wanted more for a
// while, to half in 30 s.
func behavior(down time.Duration) *autoscalingv2ac.HorizontalPodAutoscalerBehaviorApplyConfiguration {
	return autoscalingv2ac.HorizontalPodAutoscalerBehavior().
		WithScaleUp(autoscalingv2ac.HPAScalingRules().
			WithStabilizationWindowSeconds(0).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
			WithPolicies(step(autoscalingv2.PercentScalingPolicy, 100, 15), step(autoscalingv2.PodsScalingPolicy, 4, 15))).
		WithScaleDown(autoscalingv2ac.HPAScalingRules().
			WithStabilizationWindowSeconds(seconds(down)).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
			WithPolicies(step(autoscalingv2.PercentScalingPolicy, 50, 30)))
}

func seconds(d time.Duration) int32 { return int32(d / time.Second) }

// externalMetrics are the names by which a HorizontalPodAutoscaler asks.
type externalMetrics struct {
	lag, wanted string
	selector    map[string]string
}

// metricsOf are those of the operator's own API or, out of Prometheus, of its gauges: there the names of labels are
// Prometheus's.
func metricsOf(s *snapshot) externalMetrics {
	if s.backend == scaling.Prometheus {
		return externalMetrics{lag.GaugeLag, lag.GaugeWanted, map[string]string{lag.GaugeDeployment: s.stage.Name}}
	}
	return externalMetrics{lag.MetricLag, lag.MetricWanted, labels.Selector(s.stage.Spec.PipelineRef.Name, graph.Name(s.stage))}
}

func metric(name string, selector map[string]string, each int64) *autoscalingv2ac.MetricSpecApplyConfiguration {
	return autoscalingv2ac.MetricSpec().WithType(autoscalingv2.ExternalMetricSourceType).
		WithExternal(autoscalingv2ac.ExternalMetricSource().
			WithMetric(autoscalingv2ac.MetricIdentifier().WithName(name).
				WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector))).
			WithTarget(autoscalingv2ac.MetricTarget().WithType(autoscalingv2.AverageValueMetricType).
				WithAverageValue(*resource.NewQuantity(each, resource.DecimalSI))))
}

func step(kind autoscalingv2.HPAScalingPolicyType, value, seconds int32) *autoscalingv2ac.HPAScalingPolicyApplyConfiguration {
	return autoscalingv2ac.HPAScalingPolicy().WithType(kind).WithValue(value).WithPeriodSeconds(seconds)
}
