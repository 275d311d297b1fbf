package autoscale

import (
	"context"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/scaling"
)

// None is nobody: every stage has workers.min.
type None struct{}

// Name implements Backend.
func (None) Name() scaling.Backend { return scaling.None }

// Sets implements Backend.
func (None) Sets(int32, int32) bool { return false }

func (b None) observe(_ context.Context, _ *v1alpha1.Stage, o *Observed) error {
	o.Backend = b
	return nil
}

func (None) decide(Workload, *Observed, scaling.Policy) (*Desired, error) {
	return nil, nil //nolint:nilnil // no error: the number is fixed
}

func (None) setter(string) string           { return "" }
func (None) state(*Observed) (string, bool) { return "", false }
