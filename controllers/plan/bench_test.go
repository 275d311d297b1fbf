package plan_test

import (
	"testing"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config/celenv"
)

// BenchmarkCompute plans the six-stream sample, whose expressions are compiled already.
func BenchmarkCompute(b *testing.B) {
	in := read(b, "../../config/samples/observability.yaml")
	env, err := celenv.New()
	if err != nil {
		b.Fatal(err)
	}
	in.Expressions = plan.NewExpressions(env)
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := plan.Compute(in); len(errs) > 0 {
			b.Fatal(errs.ToAggregate())
		}
	}
}
