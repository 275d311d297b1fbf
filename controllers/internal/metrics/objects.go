package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
)

func collectPipeline(out chan<- prometheus.Metric, p *v1alpha1.Pipeline) {
	name := p.Namespace + "/" + p.Name
	conditions := p.Status.Conditions
	gauge(out, pipelineReady, truth(isTrue(conditions, v1alpha1.ConditionReady, p.Generation)), name)
	gauge(out, pipelineStalled, truth(meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)), name)
	gauge(out, pipelineSuspended, truth(p.Spec.Suspend), name)
	if connected, known := natsConnected(conditions, v1alpha1.ConditionStreamsReady); known {
		gauge(out, pipelineConnected, truth(connected), name)
	}
	for _, c := range conditions {
		gauge(out, pipelineCondition, 1, name, c.Type, string(c.Status), c.Reason)
	}
	for _, s := range p.Status.Streams {
		gauge(out, streamMessages, float64(s.Messages), name, s.Name)
		gauge(out, streamBytes, float64(s.Bytes), name, s.Name)
	}
}

func collectStage(out chan<- prometheus.Metric, s *v1alpha1.Stage) {
	pipeline, stage := s.Namespace+"/"+s.Spec.PipelineRef.Name, graph.Name(s)
	conditions := s.Status.Conditions
	gauge(out, stageReady, truth(isTrue(conditions, v1alpha1.ConditionReady, s.Generation)), pipeline, stage)
	gauge(out, stageSuspended, truth(suspended(conditions)), pipeline, stage)
	gauge(out, stageWorkers, float64(s.Status.Replicas), pipeline, stage)
	gauge(out, stageWorkersReady, float64(s.Status.ReadyWorkers), pipeline, stage)
	for _, c := range conditions {
		gauge(out, stageCondition, 1, pipeline, stage, c.Type, string(c.Status), c.Reason)
	}
	connected, known := natsConnected(conditions, v1alpha1.ConditionConsumersReady)
	if !known || !connected {
		return // the last known numbers stay in status; as metrics they would pass for new ones
	}
	if s.Status.Lag != nil {
		gauge(out, stageLagEvents, float64(*s.Status.Lag), pipeline, stage)
	}
	if s.Status.LagSeconds != nil {
		gauge(out, stageLagSeconds, float64(*s.Status.LagSeconds), pipeline, stage)
	}
	var pending, ackPending, redelivered int64
	for _, c := range s.Status.Consumers {
		pending += c.Pending
		ackPending += c.AckPending
		redelivered += c.Redelivered
	}
	gauge(out, stagePending, float64(pending), pipeline, stage)
	gauge(out, stageAckPending, float64(ackPending), pipeline, stage)
	gauge(out, stageRedelivered, float64(redelivered), pipeline, stage)
}

// isTrue reports whether a condition is true and speaks of the present generation.
func isTrue(conditions []metav1.Condition, kind string, generation int64) bool {
	c := meta.FindStatusCondition(conditions, kind)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}

// suspended reports whether all that Ready has to say is that the object rests.
func suspended(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonSuspended
}

// natsConnected says whether NATS answered when the condition was looked at; known is false when it was not asked.
func natsConnected(conditions []metav1.Condition, kind string) (connected, known bool) {
	c := meta.FindStatusCondition(conditions, kind)
	switch {
	case c == nil, c.Status == metav1.ConditionUnknown:
		return false, false
	case c.Reason == v1alpha1.ReasonNATSUnreachable, c.Reason == v1alpha1.ReasonCredentialsNotFound,
		c.Reason == v1alpha1.ReasonCredentialsNotForServer, c.Reason == v1alpha1.ReasonSecretNotForPipeline:
		return false, true
	default:
		return true, true
	}
}
