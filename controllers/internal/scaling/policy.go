package scaling

import "millrace.dev/millrace/api/v1alpha1"

// Backend is who sets the number of workers.
type Backend string

// The backends.
const (
	// External: a HorizontalPodAutoscaler, which reads the external metrics that the operator serves.
	External Backend = "external"
	// KEDA: KEDA, by a ScaledObject that asks the operator; from and to zero too.
	KEDA Backend = "keda"
	// Prometheus: a HorizontalPodAutoscaler, which reads the operator's metrics out of Prometheus by an
	// adapter that is the cluster's server of external metrics.
	Prometheus Backend = "prometheus"
	// Direct: the operator.
	Direct Backend = "direct"
	// None: nobody; every stage has workers.min.
	None Backend = "none"
)

// PolicyOf is what the workers of a stage with so many lanes ask for. ok is false when their number is
// fixed.
func PolicyOf(workers v1alpha1.WorkersSpec, lanes int) (policy Policy, ok bool) {
	if workers.Max == 0 {
		return Policy{}, false
	}
	policy = Policy{Min: v1alpha1.DefaultMinWorkers, Max: workers.Max, Lanes: lanes, TargetLag: int64(workers.TargetLag)}
	if workers.Min != nil {
		policy.Min = *workers.Min
	}
	if workers.TargetDrain != nil {
		policy.TargetDrain = workers.TargetDrain.Duration
	}
	return policy, true
}

// Target is the lag for each worker, in events; 0 when the lag is to be worked off in a time.
func (p Policy) Target() int64 {
	if p.TargetDrain > 0 {
		return 0
	}
	return p.targetLag()
}
