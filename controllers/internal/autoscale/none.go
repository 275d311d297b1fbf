package autoscale

import "millrace.dev/millrace/controllers/internal/scaling"

// None is nobody: every stage has workers.min.
type None struct{}

// Name implements Backend.
func (None) Name() scaling.Backend { return scaling.None }

// Sets implements Backend.
func (None) Sets(int32, int32) bool { return false }

func (None) decide(Workload, *Observed, scaling.Policy) (*Desired, error) {
	return nil, nil //nolint:nilnil // no error: the number is fixed
}
