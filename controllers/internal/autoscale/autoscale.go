package autoscale

import (
	"cmp"
	"context"
	"fmt"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/lag"
)

// Backend is who sets the number of workers of stages that scale.
type Backend interface {
	// Name is that of --autoscaling-backend.
	Name() scaling.Backend
	// Sets says whether the operator itself has to change the number of workers from what it is to what it should be.
	Sets(have, want int32) bool

	// decide says what to do about the workers of a stage whose number is not fixed; nil is that it stays fixed all the same.
	decide(w Workload, o *Observed, policy scaling.Policy) (*Desired, error)
}

// observer is a Backend that depends on what the cluster has: it reads that, and perhaps sets another one in Observed.
type observer interface {
	observe(ctx context.Context, stage *v1alpha1.Stage, o *Observed) error
}

// Observed is what there is of the scaling of one stage.
type Observed struct {
	// Backend that sets the number at present; Trouble says what is wrong with the one that was chosen, if anything is.
	Backend Backend
	Trouble Trouble
	// Reading is the newest measurement of the stage; nil when there is none.
	Reading *lag.Reading
	// HPA and ScaledObject are those of the stage's name; nil when there are none.
	HPA          *autoscalingv2.HorizontalPodAutoscaler
	ScaledObject *unstructured.Unstructured
}

// Trouble is a condition's reason and message; empty when there is none.
type Trouble struct{ Reason, Message string }

// Workload is what is scaled.
type Workload struct {
	Stage *v1alpha1.Stage
	// Revision is the newest of the stage.
	Revision *revision.Revision
	// Deployment is nil when there are no workers yet.
	Deployment *appsv1.Deployment
}

// Labels of the objects of the workers.
func (w Workload) Labels() map[string]string {
	return labels.Workers(w.Stage.Spec.PipelineRef.Name, graph.Name(w.Stage), string(w.Revision.Kind))
}

// Desired is what a stage's number of workers is to follow.
type Desired struct {
	Policy scaling.Policy
	// Object is what the backend goes by, and Kind its kind; nil where none helps: the operator sets the number, or one worker is
	// all that the lanes need.
	Kind   string
	Object runtime.ApplyConfiguration
	// Setter names who sets the number. Trouble is what the object says when that does not work, Paused that somebody stopped it.
	Setter  string
	Trouble string
	Paused  bool
	// Leave says that the operator's apply of the Deployment must not speak of the number: others set it.
	Leave bool
	// Replicas is the number to write now, and Reason why; nil where what is there is right.
	Replicas *int32
	Reason   string
}

// Decide is pure: what do the workers of a stage call for? Nil is that their number is fixed.
func Decide(w Workload, o *Observed) (*Desired, error) {
	policy, ok := scaling.PolicyOf(w.Revision.Workers, w.Revision.Lanes)
	if !ok || w.Revision.Suspended || w.Stage.Spec.Replicas != nil {
		return nil, nil //nolint:nilnil // no error: the number is fixed
	}
	return o.Backend.decide(w, o, policy)
}

// known says whether the reading says how many workers there should be.
func (o *Observed) known() bool { return o.Reading != nil && o.Reading.Err == nil && o.Reading.Scales }

// correct decides when the operator writes the number although an autoscaler normally does: when none of the workers is left, when the
// number was the operator's own until now, and where there is only one right number. With byLag the operator also scales from and to zero, because
// not every cluster's HorizontalPodAutoscaler can.
func (d *Desired) correct(w Workload, o *Observed, byLag bool) {
	if w.Deployment == nil {
		return
	}
	set := func(n int32, reason string) { d.Replicas, d.Reason = &n, reason }
	have, least := revision.Replicas(w.Deployment), max(d.Policy.Min, 1)
	known := byLag && o.known()
	switch {
	case have == 0 && d.Policy.Min > 0 && (d.Object == nil || o.ScaledObject == nil): // KEDA may have been asked to
		set(least, "none of the workers was left; use suspend to stop a stage")
	case have == 0 && known && o.Reading.Settled > 0, have > 0 && d.Policy.Min == 0 && known && o.Reading.Settled == 0:
		set(o.Reading.Settled, o.Reading.Wanted.Reason)
	case ownsReplicas(w.Deployment):
		set(have, "")
	case d.Object == nil && have > 0 && have != least:
		set(least, "more do not help: the stage has no more lanes")
	}
}

// Status says how many workers there should be and why; nil when nobody scales. replicas is what there will be of them.
func Status(o *Observed, d *Desired, replicas int32, before *v1alpha1.AutoscalingStatus) *v1alpha1.AutoscalingStatus {
	if d == nil {
		return nil
	}
	out := &v1alpha1.AutoscalingStatus{Backend: string(o.Backend.Name()), Desired: &replicas, Reason: "the lag is not known yet"}
	switch {
	case o.known():
		out.Desired, out.Reason = new(o.Reading.Wanted.Workers), o.Reading.Wanted.Reason
		out.Arrival, out.Rate = rounded(o.Reading.Arrival), rounded(o.Reading.Rate)
	case before != nil:
		out.Rate = before.Rate
		if o.Reading != nil && o.Reading.Err != nil {
			out.Reason = unknownLag(o.Reading.Err)
		}
	}
	out.Reason = status.Cut(out.Reason, v1alpha1.MaxAutoscalingReason)
	return out
}

func unknownLag(err error) string { return "the lag is not known, so the number stays: " + err.Error() }

// rounded keeps two digits: a rate is not known better, and each change is a write.
func rounded(x float64) int64 {
	if x < 1 {
		return int64(math.Round(x))
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return int64(math.Round(math.Round(x/max(unit, 1)) * max(unit, 1)))
}

// Ready says whether the number of workers follows the lag; nil where nobody asked for that. taken says that somebody else has the
// name of the backend's object.
func Ready(w Workload, o *Observed, d *Desired, taken string) *status.Verdict {
	policy, ok := scaling.PolicyOf(w.Revision.Workers, w.Revision.Lanes)
	if !ok {
		return nil
	}
	const condition = v1alpha1.ConditionAutoscalingReady
	degraded := func(reason, message string) *status.Verdict { return new(status.Degraded(condition, reason, message)) }
	works := func(reason, message string) *status.Verdict { return new(status.True(condition, reason, message)) }
	switch {
	case taken != "":
		return degraded(v1alpha1.ReasonNotOwned, taken)
	case w.Stage.Spec.Replicas != nil:
		return works(v1alpha1.ReasonReplicasHeld, fmt.Sprintf(
			"spec.replicas holds %d workers: remove it to let them follow the lag", *w.Stage.Spec.Replicas))
	case w.Revision.Suspended:
		return works(v1alpha1.ReasonSuspended, "suspended: no workers run")
	case d == nil:
		return degraded(v1alpha1.ReasonAutoscalingOff,
			"the operator runs with --autoscaling-backend=none: workers.max is not obeyed, the stage has its workers.min")
	case o.Trouble.Reason != "":
		return degraded(o.Trouble.Reason, o.Trouble.Message)
	case d.Object != nil && d.Trouble != "":
		return degraded(v1alpha1.ReasonMetricsUnavailable, d.Kind+" "+d.Trouble)
	case o.Reading != nil && o.Reading.Err != nil:
		return degraded(v1alpha1.ReasonMetricsUnavailable, unknownLag(o.Reading.Err))
	case d.Object == nil && policy.Useful() <= max(policy.Min, 1):
		return works(v1alpha1.ReasonOneWorkerEnough, fmt.Sprintf(
			"%d to %d workers: the stage has %d lanes, more workers would stand by", policy.Min, policy.Useful(), policy.Lanes))
	case d.Object != nil && d.Paused:
		return works(v1alpha1.ReasonPaused, d.Kind+" "+w.Stage.Name+" is paused by its annotation: remove it to let the workers follow the lag")
	}
	return works(v1alpha1.ReasonAutoscaling, fmt.Sprintf("%s sets %d to %d workers", cmp.Or(d.Setter, "the operator"), policy.Min, policy.Useful()))
}
