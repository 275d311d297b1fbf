package spans

import (
	"context"
	"testing"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/event"
)

// untraced is all that a lane asks of the trace of a step, once for a step or a message.
func untraced(ctx context.Context, t *Step, n *chain.Node, s *chain.Step, at *chain.Outlet, events []event.Event) {
	t.Reset()
	if s.Trace != nil {
		s.Trace.Enter(n, events)
	}
	if s.Trace != nil {
		s.Trace.Leave(n)
	}
	t.Begin(ctx, s)
	t.Inject(at, nil)
	t.End(nil)
}

// TestNoTracerCostsNothing: without a tracer no step has a trace, nothing is allocated, and no clock is read (there is none).
func TestNoTracerCostsNothing(t *testing.T) {
	ctx, n, s, at, events := t.Context(), &chain.Node{}, chain.NewStep(1), &chain.Outlet{}, make([]event.Event, 500)
	trace := New(&Options{Stages: []string{"validate"}})
	if trace != nil {
		t.Fatal("a step has a trace without a tracer")
	}
	if n := testing.AllocsPerRun(100, func() { untraced(ctx, trace, n, s, at, events) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkNoTracer is what a step pays for the hooks of traces that are off.
func BenchmarkNoTracer(b *testing.B) {
	n, s, at, events := &chain.Node{}, chain.NewStep(1), &chain.Outlet{}, make([]event.Event, 500)
	b.ReportAllocs()
	for b.Loop() {
		untraced(b.Context(), nil, n, s, at, events)
	}
}
