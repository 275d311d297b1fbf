package stage

import (
	"fmt"
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/internal/status"
)

// autoscalingStatus says how many workers there should be and why; nil when nobody scales.
func autoscalingStatus(rep report) *v1alpha1.AutoscalingStatus {
	if rep.intent.workers == nil {
		return rep.seen.stage.Status.Autoscaling // what runs goes on as it is
	}
	a := rep.intent.workers.autoscaling
	if a == nil {
		return nil
	}
	s := rep.seen
	out := &v1alpha1.AutoscalingStatus{Backend: string(s.backend), Desired: new(rep.intent.workers.replicas), Reason: "the lag is not known yet"}
	switch before := s.stage.Status.Autoscaling; {
	case s.reading.known():
		out.Desired, out.Reason = new(s.reading.Wanted.Workers), s.reading.Wanted.Reason
		out.Arrival, out.Rate = rounded(s.reading.Arrival), rounded(s.reading.Rate)
	case before != nil:
		out.Rate = before.Rate
		if s.reading.Err != nil {
			out.Reason = "the lag is not known, so the number stays: " + s.reading.Err.Error()
		}
	}
	out.Reason = status.Cut(out.Reason, v1alpha1.MaxAutoscalingReason)
	return out
}

// rounded keeps two digits: a rate is not known better, and each change is a write.
func rounded(x float64) int64 {
	if x < 1 {
		return int64(math.Round(x))
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return int64(math.Round(math.Round(x/max(unit, 1)) * max(unit, 1)))
}

// autoscalingReady says whether the number of workers follows the lag; nil where nobody asked for that.
func autoscalingReady(rep report) *status.Verdict {
	const kind = v1alpha1.ConditionAutoscalingReady
	s := rep.seen
	if s.newest == nil || s.newest.Head != "" || rep.intent.workers == nil {
		return nil
	}
	policy, ok := scaling.PolicyOf(s.newest.Workers, s.newest.Lanes)
	if !ok {
		return nil
	}
	if rep.done.taken != "" {
		return new(status.Degraded(kind, v1alpha1.ReasonNotOwned, rep.done.taken))
	}
	return new(judgeAutoscaling(kind, s, policy, rep.intent.workers.autoscaling))
}

func judgeAutoscaling(kind string, s *snapshot, policy scaling.Policy, a *autoscaling) status.Verdict {
	least := max(policy.Min, 1)
	switch {
	case s.stage.Spec.Replicas != nil:
		return status.True(kind, v1alpha1.ReasonReplicasHeld, fmt.Sprintf(
			"spec.replicas holds %d workers: remove it to let them follow the lag", *s.stage.Spec.Replicas))
	case s.newest.Suspended:
		return status.True(kind, v1alpha1.ReasonSuspended, "suspended: no workers run")
	case a == nil:
		return status.Degraded(kind, v1alpha1.ReasonAutoscalingOff,
			"the operator runs with --autoscaling-backend=none: workers.max is not obeyed, the stage has its workers.min")
	case s.backendWhy.reason != "":
		return status.Degraded(kind, s.backendWhy.reason, s.backendWhy.message)
	case s.hpa != nil && a.hpa != nil && autoscalerTrouble(s.hpa) != "":
		return status.Degraded(kind, v1alpha1.ReasonMetricsUnavailable, "HorizontalPodAutoscaler "+s.hpa.Name+": "+autoscalerTrouble(s.hpa))
	case s.scaledObject != nil && a.scaledObject != nil && keda.Trouble(s.scaledObject) != "":
		return status.Degraded(kind, v1alpha1.ReasonMetricsUnavailable, "ScaledObject "+s.scaledObject.GetName()+": "+keda.Trouble(s.scaledObject))
	case s.reading.measured && s.reading.Err != nil:
		return status.Degraded(kind, v1alpha1.ReasonMetricsUnavailable, "the lag is not known, so the number stays: "+s.reading.Err.Error())
	case policy.Useful() <= least && a.scaledObject == nil:
		return status.True(kind, v1alpha1.ReasonOneWorkerEnough, fmt.Sprintf(
			"%d to %d workers: the stage has %d lanes, more workers would stand by", policy.Min, policy.Useful(), policy.Lanes))
	}
	by := "the operator"
	switch {
	case a.hpa != nil:
		by = "HorizontalPodAutoscaler " + s.stage.Name
	case a.scaledObject != nil && s.scaledObject != nil && keda.Paused(s.scaledObject):
		return status.True(kind, v1alpha1.ReasonPaused, "ScaledObject "+s.stage.Name+" is paused by its annotation: remove it to let the workers follow the lag")
	case a.scaledObject != nil:
		by = "KEDA (ScaledObject " + s.stage.Name + ")"
	}
	return status.True(kind, v1alpha1.ReasonAutoscaling, fmt.Sprintf("%s sets %d to %d workers", by, policy.Min, policy.Useful()))
}

// autoscalerTrouble is what a HorizontalPodAutoscaler says of itself when it cannot do its work. That it is
// off while there is no worker is not trouble: the operator wakes the stage.
func autoscalerTrouble(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, c := range hpa.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Reason != "ScalingDisabled" &&
			(c.Type == autoscalingv2.AbleToScale || c.Type == autoscalingv2.ScalingActive) {
			return c.Message
		}
	}
	return ""
}
