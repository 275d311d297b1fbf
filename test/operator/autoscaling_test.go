package operator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
)

// scaling is validate -> enrich, which has eight lanes and the given workers.
func (x *tenant) scaling(workers v1alpha1.WorkersSpec) *v1alpha1.Pipeline {
	p := x.pipeline()
	p.Spec.Stages = p.Spec.Stages[:2]
	p.Spec.Stages[1].Enrich.Kubernetes = nil
	p.Spec.Stages[1].Workers = workers
	return p
}

// frames stores messages that say that they hold ten events each, in lane 0 of enrich.
func (x *tenant) frames(n int) {
	x.t.Helper()
	for range n {
		m := nats.NewMsg(x.ns + ".obs.validate.0")
		m.Header.Set("Millrace-Events", "10")
		if _, err := x.js.PublishMsg(x.t.Context(), m); err != nil {
			x.t.Fatal(err)
		}
	}
}

// replicas waits until the Deployment of enrich has as many, and its workers are ready.
func (x *tenant) replicas(want int32) {
	x.t.Helper()
	x.eventually(func() error {
		d, s := x.deployment("obs-enrich"), x.stage("obs-enrich")
		if *d.Spec.Replicas != want || d.Status.ReadyReplicas != want || s.Status.ReadyWorkers != want {
			return fmt.Errorf("got %d replicas, %d ready, want %d: %+v", *d.Spec.Replicas, d.Status.ReadyReplicas, want, s.Status.Autoscaling)
		}
		return nil
	})
}

// why waits until status.autoscaling says so many workers for a reason.
func (x *tenant) why(want int32, reason string) {
	x.t.Helper()
	x.eventually(func() error {
		a := x.stage("obs-enrich").Status.Autoscaling
		if a == nil || a.Backend != "direct" || *a.Desired != want || !strings.Contains(a.Reason, reason) {
			return fmt.Errorf("got %+v, want %d: %s", a, want, reason)
		}
		return nil
	})
}

// TestDirectAutoscaling: the operator itself sets the number of workers by the events, not the messages,
// that they have not acknowledged. The workers of these tests acknowledge nothing: what is deleted counts
// as done.
func TestDirectAutoscaling(t *testing.T) {
	x := newTenant(t)
	x.dropStreams()
	p := x.start(x.scaling(v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 3, TargetLag: 20}))

	x.replicas(0)
	x.why(0, "scaled to zero")
	x.ready(x.stage("obs-enrich"), p)

	x.frames(1)
	x.replicas(1)
	x.why(1, "10 events of lag at 20 for each worker: 1")
	x.event("obs-enrich", v1alpha1.ReasonScaled, "scaled from 0 to 1 workers: 10 events of lag")

	x.frames(4)
	x.replicas(3)
	x.why(3, "50 events of lag at 20 for each worker: 3")
	x.frames(5)
	x.why(3, "100 events of lag at 20 for each worker: 5; at most 3 (workers.max)")
	c := x.condition(x.stage("obs-enrich"), v1alpha1.ConditionAutoscalingReady, metav1.ConditionTrue, v1alpha1.ReasonAutoscaling)
	if want := "the operator sets 0 to 3 workers"; c.Message != want {
		t.Errorf("got %q, want %q", c.Message, want)
	}

	s := x.stage("obs-enrich")
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = new(int32(2)) })
	x.replicas(2)
	x.condition(s, v1alpha1.ConditionAutoscalingReady, metav1.ConditionTrue, v1alpha1.ReasonReplicasHeld)
	edit(x, s, func(s *v1alpha1.Stage) { s.Spec.Replicas = nil })
	x.replicas(3)

	// Without max the number is min again, and nothing of it is left in status.
	edit(x, p, func(p *v1alpha1.Pipeline) { p.Spec.Stages[1].Workers = v1alpha1.WorkersSpec{Min: new(int32(2))} })
	x.replicas(2)
	x.eventually(func() error {
		if s := x.stage("obs-enrich").Status; s.Autoscaling != nil || hasCondition(s.Conditions, v1alpha1.ConditionAutoscalingReady) {
			return fmt.Errorf("status still speaks of autoscaling: %+v", s)
		}
		return nil
	})
	edit(x, p, func(p *v1alpha1.Pipeline) {
		p.Spec.Stages[1].Workers = v1alpha1.WorkersSpec{Min: new(int32(0)), Max: 3, TargetLag: 20}
	})
	x.replicas(3)

	stream, err := x.js.Stream(t.Context(), x.stream("validate"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.replicas(0)
	x.event("obs-enrich", v1alpha1.ReasonScaled, "there was no lag for 3s")
}
