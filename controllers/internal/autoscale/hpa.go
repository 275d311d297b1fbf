package autoscale

import (
	"context"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
)

const kindHPA = "HorizontalPodAutoscaler"

// External is a HorizontalPodAutoscaler that reads the external metrics which the operator serves. Where the cluster's are another
// server's, or nobody's, the operator sets the number itself.
type External struct {
	hpa
	// Registration says whose the cluster's external metrics are.
	Registration *lag.Registration
}

// NewExternal returns one whose stages get fewer workers when nobody wanted more for so long.
func NewExternal(registration *lag.Registration, down time.Duration) External {
	return External{hpa{name: scaling.External, down: down, metrics: func(stage *v1alpha1.Stage) metricNames {
		return metricNames{lag.MetricLag, lag.MetricWanted, labels.Selector(stage.Spec.PipelineRef.Name, graph.Name(stage))}
	}}, registration}
}

// Sets implements Backend.
func (b External) Sets(have, want int32) bool {
	if !b.Registration.Asked() {
		return Direct{}.Sets(have, want)
	}
	return b.hpa.Sets(have, want)
}

func (b External) observe(ctx context.Context, _ *v1alpha1.Stage, o *Observed) error {
	b.Registration.LookFirst(ctx)
	o.Backend, o.Trouble = b.hpa, troubleOf(b.Registration.Standing())
	if !b.Registration.Asked() {
		o.Backend = Direct{}
	}
	return nil
}

func troubleOf(standing lag.Standing, message string) Trouble {
	switch standing {
	case lag.Foreign:
		return Trouble{v1alpha1.ReasonForeignMetricsAPI, message + "; the operator sets the number of workers itself (--autoscaling-backend=direct)"}
	case lag.Absent:
		return Trouble{v1alpha1.ReasonNoMetricsAPI, message + "; the operator sets the number of workers itself until then"}
	case lag.Unavailable:
		return Trouble{v1alpha1.ReasonMetricsUnavailable, message}
	default:
		return Trouble{}
	}
}

// NewPrometheus returns a backend whose HorizontalPodAutoscalers read the operator's gauges out of Prometheus, by an adapter that is the
// cluster's server of external metrics. There the names of labels are Prometheus's.
func NewPrometheus(down time.Duration) Backend {
	return hpa{name: scaling.Prometheus, down: down, metrics: func(stage *v1alpha1.Stage) metricNames {
		return metricNames{lag.GaugeLag, lag.GaugeWanted, map[string]string{lag.GaugeDeployment: stage.Name}}
	}}
}

// hpa is a HorizontalPodAutoscaler that reads external metrics.
type hpa struct {
	name scaling.Backend
	// down is for how long nobody must have wanted more workers before there are fewer.
	down    time.Duration
	metrics func(*v1alpha1.Stage) metricNames
}

// metricNames are those by which a HorizontalPodAutoscaler asks.
type metricNames struct {
	lag, wanted string
	selector    map[string]string
}

// Name implements Backend.
func (b hpa) Name() scaling.Backend { return b.name }

// Sets implements Backend: to and from zero, since not every cluster's HorizontalPodAutoscaler can.
func (hpa) Sets(have, want int32) bool { return (have == 0) != (want == 0) }

func (b hpa) decide(w Workload, o *Observed, policy scaling.Policy) (*Desired, error) {
	d := &Desired{Policy: policy, Leave: true}
	if policy.Useful() > max(policy.Min, 1) {
		d.Kind, d.Object, d.Setter = kindHPA, b.object(w, policy), kindHPA+" "+w.Stage.Name
		if o.HPA != nil {
			d.Trouble = prefixed(o.HPA.Name+": ", hpaTrouble(o.HPA))
		}
	}
	d.correct(w, o, true)
	return d, nil
}

// prefixed is a text with something in front of it, if there is any.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// hpaTrouble is what a HorizontalPodAutoscaler says of itself when it cannot do its work. That it is
// off while there is no worker is not trouble: the operator wakes the stage.
func hpaTrouble(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, c := range hpa.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Reason != "ScalingDisabled" &&
			(c.Type == autoscalingv2.AbleToScale || c.Type == autoscalingv2.ScalingActive) {
			return c.Message
		}
	}
	return ""
}

// hpaChanged lets through edits of a HorizontalPodAutoscaler, and whether it works: what it measures
// changes all the time.
func hpaChanged(before, after *autoscalingv2.HorizontalPodAutoscaler) bool {
	return before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) || hpaTrouble(before) != hpaTrouble(after)
}

// object is the HorizontalPodAutoscaler of a stage. It takes the larger of two numbers: what the lag calls
// for, and what the operator wants, which also knows what comes in.
func (b hpa) object(w Workload, policy scaling.Policy) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	names := b.metrics(w.Stage)
	metrics := []*autoscalingv2ac.MetricSpecApplyConfiguration{metric(names.wanted, names.selector, 1)}
	if target := policy.Target(); target > 0 {
		metrics = append([]*autoscalingv2ac.MetricSpecApplyConfiguration{metric(names.lag, names.selector, target)}, metrics...)
	}
	return autoscalingv2ac.HorizontalPodAutoscaler(w.Stage.Name, w.Stage.Namespace).
		WithLabels(w.Labels()).
		WithOwnerReferences(apply.ControlledBy("Stage", w.Stage)).
		WithSpec(autoscalingv2ac.HorizontalPodAutoscalerSpec().
			WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().
				WithAPIVersion(appsv1.SchemeGroupVersion.String()).WithKind("Deployment").WithName(w.Stage.Name)).
			WithMinReplicas(max(policy.Min, 1)).
			WithMaxReplicas(policy.Useful()).
			WithMetrics(metrics...).
			WithBehavior(behavior(b.down)))
}

// behavior is how fast: up at once, to twice as many or by four in 15 s; down when nobody wanted more for a
// while, to half in 30 s.
func behavior(down time.Duration) *autoscalingv2ac.HorizontalPodAutoscalerBehaviorApplyConfiguration {
	return autoscalingv2ac.HorizontalPodAutoscalerBehavior().
		WithScaleUp(autoscalingv2ac.HPAScalingRules().
			WithStabilizationWindowSeconds(0).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
			WithPolicies(step(autoscalingv2.PercentScalingPolicy, 100, 15), step(autoscalingv2.PodsScalingPolicy, 4, 15))).
		WithScaleDown(autoscalingv2ac.HPAScalingRules().
			WithStabilizationWindowSeconds(int32(down / time.Second)).WithSelectPolicy(autoscalingv2.MaxChangePolicySelect).
			WithPolicies(step(autoscalingv2.PercentScalingPolicy, 50, 30)))
}

func step(kind autoscalingv2.HPAScalingPolicyType, value, seconds int32) *autoscalingv2ac.HPAScalingPolicyApplyConfiguration {
	return autoscalingv2ac.HPAScalingPolicy().WithType(kind).WithValue(value).WithPeriodSeconds(seconds)
}

func metric(name string, selector map[string]string, each int64) *autoscalingv2ac.MetricSpecApplyConfiguration {
	return autoscalingv2ac.MetricSpec().WithType(autoscalingv2.ExternalMetricSourceType).
		WithExternal(autoscalingv2ac.ExternalMetricSource().
			WithMetric(autoscalingv2ac.MetricIdentifier().WithName(name).
				WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector))).
			WithTarget(autoscalingv2ac.MetricTarget().WithType(autoscalingv2.AverageValueMetricType).
				WithAverageValue(*resource.NewQuantity(each, resource.DecimalSI))))
}
