package plan_test

import (
	"testing"

	"millrace.dev/millrace/controllers/plan"
)

// BenchmarkCompute plans the six-stream sample: the operator does it at every reconcile.
func BenchmarkCompute(b *testing.B) {
	in := read(b, "../../config/samples/observability.yaml")
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := plan.Compute(in); len(errs) > 0 {
			b.Fatal(errs.ToAggregate())
		}
	}
}
