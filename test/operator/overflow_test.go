package operator_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// overflowing is a pipeline with an entry that asks responders, and has an overflow.
func (x *tenant) overflowing() *v1alpha1.Pipeline {
	p := x.pipeline()
	p.Spec.Stages = append(p.Spec.Stages[:1], v1alpha1.PipelineStage{Name: "asked", StageNode: v1alpha1.StageNode{
		From: []string{"ingress"}, Gather: &v1alpha1.GatherSpec{NATS: &v1alpha1.GatherNATSSpec{Subject: x.ns + ".models"}},
		Breaker: &v1alpha1.BreakerSpec{WhenOpen: v1alpha1.WhenOpenOverflow},
	}})
	return p
}

// aside stores events in the overflow of stage asked, as a worker does whose breaker is open.
func (x *tenant) aside(n int) {
	x.t.Helper()
	for range n {
		if _, err := x.js.Publish(x.t.Context(), x.ns+".obs.asked.overflow.0.0", []byte(`{"id":"1"}`)); err != nil {
			x.t.Fatal(err)
		}
	}
}

// overflowConsumer is the name of the consumer that replays.
func (x *tenant) overflowConsumer() string {
	x.t.Helper()
	for _, c := range x.stage("obs-asked").Status.Consumers {
		if c.Stream == x.stream("asked") {
			return c.Name
		}
	}
	x.t.Fatalf("no consumer reads the overflow: %+v", x.stage("obs-asked").Status.Consumers)
	return ""
}

// TestOverflowOfARemovedEntryIsDrainedFirst: a stage that goes waits for all that is in its overflow, also for what comes there after the
// deletion: it was in an input before.
func TestOverflowOfARemovedEntryIsDrainedFirst(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.overflowing())
	replay := x.overflowConsumer()
	x.publish(2)
	x.aside(2)
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages = p.Spec.Stages[:1] })
	asked := x.stage("obs-asked")
	x.left(asked, 4)
	x.saying(asked, v1alpha1.ConditionInputsDrained, metav1.ConditionFalse, v1alpha1.ReasonEventsLeft, "Of these events 2 wait in the overflow until the circuit breaker closes")
	x.process(x.stream("raw"), x.durable("asked"), 2)
	time.Sleep(6 * time.Second) // what the operator allows the clocks to differ by
	x.aside(1)
	x.process(x.stream("asked"), replay, 2)
	x.left(asked, 1)
	if d := x.deployment("obs-asked"); !d.DeletionTimestamp.IsZero() || d.Status.ReadyReplicas != 1 {
		t.Errorf("the workers are stopped, %d are ready", d.Status.ReadyReplicas)
	}
	x.process(x.stream("asked"), replay, 1)
	x.gone(asked)
	if x.consumer(x.stream("asked"), replay) != nil {
		t.Error("the consumer of the overflow is still there")
	}
	if !x.hasStream(x.stream("asked")) {
		t.Error("what the stage has emitted is gone")
	}
	x.ready(p)
}

// TestOverflowCanBeLeft: a service that never comes back holds up no deletion, if a person says so. What is left stays in the stream.
func TestOverflowCanBeLeft(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.overflowing())
	x.aside(3)
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages = p.Spec.Stages[:1] })
	asked := x.stage("obs-asked")
	x.left(asked, 3)
	edit(x, asked, func(s *v1alpha1.Stage) { s.Annotations = map[string]string{v1alpha1.AnnotationDrain: "false"} })
	x.gone(asked)
	s, err := x.js.Stream(t.Context(), x.stream("asked"))
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 3 {
		t.Errorf("the stream of the overflow holds %d messages, want the 3 that were left", n)
	}
}
