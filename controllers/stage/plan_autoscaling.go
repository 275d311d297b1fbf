package stage

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

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
	// leave says that the operator's apply of the Deployment must not speak of the number: others set it.
	leave bool
	// set is the number to write now; nil where what is there is right.
	set *int32
	// why set.
	why string
}

// autoscalingFor decides about the workers of a stage; nil when their number is fixed.
func autoscalingFor(s *snapshot, settings Settings) *autoscaling {
	policy, ok := scaling.PolicyOf(s.spec().Workers, s.node.Lanes)
	if !ok || s.backend == scaling.None || s.node.Suspended || s.stage.Spec.Replicas != nil {
		return nil
	}
	a := &autoscaling{policy: policy}
	if s.backend == scaling.Direct {
		n, why := directly(s, policy)
		a.set, a.why = &n, why
		return a
	}
	a.leave = true
	if least := max(policy.Min, 1); policy.Useful() > least {
		a.hpa = hpaFor(s, policy, settings.ScaleDownWindow)
	}
	if s.deployment != nil {
		a.set, a.why = nudge(s, policy)
	}
	return a
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

// nudge is the number that the operator writes although a HorizontalPodAutoscaler sets it: from zero and
// to zero, which not every cluster's can, and when the number was the operator's own until now.
func nudge(s *snapshot, policy scaling.Policy) (set *int32, why string) {
	have := specReplicas(s.deployment)
	least := max(policy.Min, 1)
	switch {
	case have == 0 && policy.Min > 0:
		return new(least), "none of the workers was left; use suspend to stop a stage"
	case have == 0 && s.reading.known() && s.reading.Settled > 0:
		return new(s.reading.Settled), s.reading.Wanted.Reason
	case have > 0 && policy.Min == 0 && s.reading.known() && s.reading.Settled == 0:
		return new(int32(0)), s.reading.Wanted.Reason
	case ownsReplicas(s.deployment):
		return new(have), ""
	// With no HorizontalPodAutoscaler there is one right number beside zero.
	case have > 0 && policy.Useful() <= least && have != least:
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
// for, and what the operator wants, which also knows what comes in. It grows at once and at most doubles,
// or adds four, in 15 s; it shrinks when nobody wanted more for a while, to half in 30 s at most.
func hpaFor(s *snapshot, policy scaling.Policy, down time.Duration) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	metrics := []*autoscalingv2ac.MetricSpecApplyConfiguration{metric(s, lag.MetricWanted, 1)}
	if target := policy.Target(); target > 0 {
		metrics = append([]*autoscalingv2ac.MetricSpecApplyConfiguration{metric(s, lag.MetricLag, target)}, metrics...)
	}
	return autoscalingv2ac.HorizontalPodAutoscaler(s.stage.Name, s.stage.Namespace).
		WithLabels(workerLabels(s)).
		WithOwnerReferences(ownerReference(s.stage)).
		WithSpec(autoscalingv2ac.HorizontalPodAutoscalerSpec().
			WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().
				WithAPIVersion(appsv1.SchemeGroupVersion.String()).WithKind("Deployment").WithName(s.stage.Name)).
			WithMinReplicas(max(policy.Min, 1)).
			WithMaxReplicas(policy.Useful()).
			WithMetrics(metrics...).
			WithBehavior(autoscalingv2ac.HorizontalPodAutoscalerBehavior().
				WithScaleUp(autoscalingv2ac.HPAScalingRules().
					WithStabilizationWindowSeconds(0).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
					WithPolicies(step(autoscalingv2.PercentScalingPolicy, 100, 15), step(autoscalingv2.PodsScalingPolicy, 4, 15))).
				WithScaleDown(autoscalingv2ac.HPAScalingRules().
					WithStabilizationWindowSeconds(int32(down / time.Second)).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
					WithPolicies(step(autoscalingv2.PercentScalingPolicy, 50, 30)))))
}

func metric(s *snapshot, name string, each int64) *autoscalingv2ac.MetricSpecApplyConfiguration {
	return autoscalingv2ac.MetricSpec().WithType(autoscalingv2.ExternalMetricSourceType).
		WithExternal(autoscalingv2ac.ExternalMetricSource().
			WithMetric(autoscalingv2ac.MetricIdentifier().WithName(name).
				WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels.Selector(s.stage.Spec.PipelineRef.Name, graph.Name(s.stage))))).
			WithTarget(autoscalingv2ac.MetricTarget().WithType(autoscalingv2.AverageValueMetricType).
				WithAverageValue(*resource.NewQuantity(each, resource.DecimalSI))))
}

func step(kind autoscalingv2.HPAScalingPolicyType, value, seconds int32) *autoscalingv2ac.HPAScalingPolicyApplyConfiguration {
	return autoscalingv2ac.HPAScalingPolicy().WithType(kind).WithValue(value).WithPeriodSeconds(seconds)
}
