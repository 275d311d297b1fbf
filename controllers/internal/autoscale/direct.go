package autoscale

import (
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
)

// Direct is the operator itself.
type Direct struct{}

// Name implements Backend.
func (Direct) Name() scaling.Backend { return scaling.Direct }

// Sets implements Backend.
func (Direct) Sets(have, want int32) bool { return have != want }

// decide: while the lag is not known there are as many as there are.
func (Direct) decide(w Workload, o *Observed, policy scaling.Policy) (*Desired, error) {
	n, reason := max(policy.Min, 1), "a new stage"
	switch {
	case o.known():
		n, reason = o.Reading.Settled, o.Reading.Wanted.Reason
	case w.Deployment != nil:
		n, reason = max(min(revision.Replicas(w.Deployment), policy.Useful()), policy.Min), "the lag is not known"
	}
	return &Desired{Policy: policy, Replicas: &n, Reason: reason}, nil
}
