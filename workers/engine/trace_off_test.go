package engine

import (
	"testing"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/event"
)

// untraced is all that the engine asks of the trace of a step, once for a step or a message.
func untraced(l *lane, n *chain.Node, s *step, at *chain.Outlet, events []event.Event) {
	s.trace.reset()
	if s.Trace != nil {
		s.Trace.Enter(n, events)
	}
	if s.Trace != nil {
		s.Trace.Leave(n)
	}
	s.trace.begin(l.e.work, l, s)
	s.trace.inject(at, nil)
	s.trace.end(l, nil)
}

// TestNoTracerCostsNothing: without a tracer no step has a trace, nothing is allocated, and no clock is read (there is none).
func TestNoTracerCostsNothing(t *testing.T) {
	l, n, at, events := &lane{e: &Engine{}}, &chain.Node{}, &chain.Outlet{}, make([]event.Event, 500)
	s := newStep(1)
	s.trace = l.e.newStepTrace()
	if s.trace != nil {
		t.Fatal("a step has a trace without a tracer")
	}
	if n := testing.AllocsPerRun(100, func() { untraced(l, n, s, at, events) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkNoTracer is what a step pays for the hooks of traces that are off.
func BenchmarkNoTracer(b *testing.B) {
	l, n, at, s, events := &lane{e: &Engine{}}, &chain.Node{}, &chain.Outlet{}, newStep(1), make([]event.Event, 500)
	b.ReportAllocs()
	for b.Loop() {
		untraced(l, n, s, at, events)
	}
}
