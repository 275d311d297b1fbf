package chain_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// TestChained: each stage is given what the one before sent to port out, in order, however long the chain is.
func TestChained(t *testing.T) {
	for n := range 5 {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) {
			var stages []fake
			var want []string
			left := []string{"e0", "e1", "e2", "e3", "e4", "e5"}
			for i := range n + 1 { // stage i filters e<i>
				stages = append(stages, fake{process: on(func(b *stage.Batch, i int) { b.Filter(i) }, left[0])})
				left = left[1:]
				want = append(want, fmt.Sprintf("%c.out.0: %s", 'a'+i, strings.Join(left, " ")))
			}
			r := newRig(t, stages...)
			r.want(r.take(frame(t, "e0", "e1"), frame(t, "e2", "e3"), frame(t, "e4", "e5")), want...)
			for i := range n + 1 {
				r.wantTally(i, chain.Tally{Events: int64(6 - i), Emitted: int64(5 - i), Out: int64(5 - i), Filtered: 1})
			}
		})
	}
}

// TestTwoReaders: two stages are given the same events, and what one adds the other does not see. Nothing is stored of a stage that
// has no port out: only the chain reads it.
func TestTwoReaders(t *testing.T) {
	var seen [2][]string
	add := func(n int) func(*stage.Batch) error {
		return func(b *stage.Batch) error {
			for i := range b.Events {
				for of := range b.Events[i].Enrichments {
					seen[n] = append(seen[n], "what "+of.By+" added")
				}
				b.Events[i].AddEnrichment(fmt.Sprint(n), "ok", 1)
				seen[n] = append(seen[n], strings.Clone(b.Events[i].ID))
			}
			return nil
		}
	}
	r := newRig(t, fake{}, fake{process: add(0)}, fake{process: add(1)})
	nodes := make([]*chain.Node, 3)
	for i := range nodes {
		c := &config.StageConfig{Stage: string(rune('a' + i)), Partitions: 2, Outputs: outputs(string(rune('a' + i)))}
		if i == 0 {
			delete(c.Outputs, config.PortOut)
		}
		nodes[i] = chain.NewNode(c, r.limits, false, &r.calls)
	}
	nodes[0].Chain(nodes[1], 1)
	nodes[0].Chain(nodes[2], 2)
	r.graph = chain.NewGraph(nodes)
	if diff := cmp.Diff([]int{-1, 0, 0}, r.graph.Parents()); diff != "" {
		t.Error(diff)
	}
	r.want(r.take(frame(t, "e0", "e1"), frame(t, "e2")), "b.out.0: e0 e1 e2", "c.out.0: e0 e1 e2")
	if diff := cmp.Diff([2][]string{{"e0", "e1", "e2"}, {"e0", "e1", "e2"}}, seen); diff != "" {
		t.Error(diff)
	}
	r.wantTally(0, chain.Tally{Events: 3, Emitted: 3, Out: 3})
}

// TestNewEventsOfAChain: what a stage makes for port out goes to the next one, behind the events.
func TestNewEventsOfAChain(t *testing.T) {
	makes := fake{process: func(b *stage.Batch) error {
		b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "new", Source: "s", Type: "t"})
		return nil
	}}
	var seen []string
	r := newRig(t, makes, fake{process: func(b *stage.Batch) error { seen = append(seen, ids(b)...); return nil }})
	got := r.take(frame(t, "e0", "e1"))
	slices.Sort(got)
	r.want(got, "a.out.0: e0 e1 new", "b.out.0: e0 e1 new")
	if diff := cmp.Diff([]string{"e0", "e1", "new"}, seen); diff != "" {
		t.Error(diff)
	}
	r.wantTally(0, chain.Tally{Events: 2, Emitted: 2, Out: 3, Produced: []chain.Count{{Name: "out", N: 1}}})
}

// TestStopInAChain: when the stages downstream cannot go on, the context of the others ends.
func TestStopInAChain(t *testing.T) {
	r := newRig(t, fake{}, fake{process: func(*stage.Batch) error { panic("no") }})
	r.stateful = true
	r.open(nil)
	ctx, end := r.chain.Start(t.Context())
	defer end()
	r.add(frame(t, "e0"), frame(t, "e1"))
	r.chain.Take(ctx, r.step)
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the chain goes on")
	}
	if r.chain.Settle(ctx) {
		t.Error("the stages downstream are still at work")
	}
}

// TestSettle: another rule holds for what comes behind it, and for nothing before.
func TestSettle(t *testing.T) {
	slow := fake{process: func(*stage.Batch) error { time.Sleep(10 * time.Millisecond); return nil }}
	r := newRig(t, fake{}, slow).open(nil)
	ctx, end := r.chain.Start(t.Context())
	defer end()
	r.add(frame(t, "e0"), frame(t, "e1"), frame(t, "e2"))
	if !r.chain.Take(ctx, r.step) || !r.chain.Settle(ctx) {
		t.Fatal("the chain does not go on")
	}
	if got := r.step.Tallies[1].Out; got != 3 {
		t.Errorf("%d of 3 events were through", got)
	}
	r.chain.Replace(1, fake{process: func(b *stage.Batch) error { b.Filter(0); return nil }})
	r.step.Reset()
	r.add(frame(t, "e3"))
	if !r.chain.Take(ctx, r.step) || !r.chain.Settle(ctx) {
		t.Fatal("the chain does not go on")
	}
	if got := r.step.Tallies[1].Filtered; got != 1 {
		t.Error("the new stage did not decide")
	}
}

// TestTraceOfEachStage when each stage begins and has decided.
func TestTraceOfEachStage(t *testing.T) {
	r := newRig(t, fake{}, fake{}).open(nil)
	trace := &traced{}
	r.step.Trace = trace
	ctx := context.Background()
	r.add(frame(t, "e0", "e1"))
	if !r.chain.Take(ctx, r.step) {
		t.Fatal("the chain does not go on")
	}
	if diff := cmp.Diff([]string{"a takes 2", "a decided", "b takes 2", "b decided"}, trace.calls); diff != "" {
		t.Error(diff)
	}
}

type traced struct{ calls []string }

func (l *traced) Enter(n *chain.Node, events []event.Event) {
	l.calls = append(l.calls, fmt.Sprint(n.Stage, " takes ", len(events)))
}
func (l *traced) Leave(n *chain.Node) { l.calls = append(l.calls, n.Stage+" decided") }
