package chain_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/stage"
)

// keeping is a fake that is a sink.
type keeping struct{ fake }

func (keeping) Place(context.Context, string) (string, error)              { return "", nil }
func (keeping) Store(context.Context, string, []any, string, string) error { return nil }

// sinkRig is a chain of one sink, which keeps events by their ids.
func sinkRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.stages = []stage.Stage{keeping{fake{process: keepAll}}}
	return r
}

func keepAll(b *stage.Batch) error {
	for i, id := range ids(b) {
		b.Keep(i, id)
	}
	return nil
}

func (r *rig) wantRows(want ...string) {
	r.t.Helper()
	var got []string
	for _, row := range r.step.Rows {
		got = append(got, row.Value.(string))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("rows: %v, want %v", got, want)
	}
}

// TestKeep: a sink keeps events of frames and loose ones in the order of the input, and they go nowhere else.
func TestKeep(t *testing.T) {
	r := sinkRig(t)
	r.want(r.take(slices.Concat(looses("a", "b"), []chain.Message{frame(t, "c", "d")}, looses("e"))...))
	r.wantRows("a", "b", "c", "d", "e")
	r.wantTally(0, chain.Tally{Events: 5, Kept: 5})
	r.step.Reset()
	r.wantRows()
}

// TestKeepOfAStageThatIsNoSink: the stage has kept the events by itself.
func TestKeepOfAStageThatIsNoSink(t *testing.T) {
	r := newRig(t, fake{process: keepAll})
	r.want(r.take(looses("a", "b")...))
	r.wantRows()
	r.wantTally(0, chain.Tally{Events: 2, Kept: 2})
}

// TestKeepWhatIsNotStored: what the target has already is not kept again.
func TestKeepWhatIsNotStored(t *testing.T) {
	r := sinkRig(t)
	at := []progress.Position{{Seq: 2, Index: math.MaxUint32}, {}}
	r.open(progress.NewDoubt(2, []int{-1}, []progress.Written{{Node: -1, Track: -1, Reach: at, Done: at}}))
	r.want(r.take(looses("a", "b", "c")...))
	r.wantRows("c")
	r.wantTally(0, chain.Tally{Events: 3, Kept: 3, Skips: []chain.Count{{Name: "target", N: 2}}})
}

// TestRefuse: rows that the target does not take become dead letters with what they were received as, and what it says.
func TestRefuse(t *testing.T) {
	r := sinkRig(t)
	r.take(slices.Concat(looses("a", "b"), []chain.Message{frame(t, "c", "d", "e")}, looses("f"))...)
	p := r.chain.Refuse(r.step, []stage.RefusedRow{
		{Row: 3, Reason: "too_long", Err: errors.New("value too long for type character varying(10)")}, {Row: 1, Err: errors.New("null value in column ts")}, {Row: 4, Reason: "too_long"},
	}, []progress.Position{{Seq: 4, Index: 7}, {}})
	r.wantRows("a", "c", "f")
	r.wantTally(0, chain.Tally{Events: 6, Kept: 3, DeadLettered: 3, Reasons: []chain.Count{{Name: "refused", N: 1}, {Name: "too_long", N: 2}}})
	var got []string
	for _, o := range p.Outputs {
		got = append(got, r.line(o))
		if o.Reach[0] != (progress.Position{Seq: 4, Index: 7}) || o.Events != 1 {
			t.Errorf("an output reaches to %v and has %d events", o.Reach, o.Events)
		}
	}
	r.want(got, "a.dead.0: b refused", "a.dead.0: d too_long", "a.dead.0: e too_long")
	h := p.Outputs[1].Header
	for name, want := range map[string]string{"Millrace-Sequence": "3", "Millrace-Index": "1", "Millrace-Stream": "IN", "Millrace-Stage": "a"} {
		if len(h[name]) != 1 || h[name][0] != want {
			t.Errorf("header %s: %v, want %s", name, h[name], want)
		}
	}
	if !strings.Contains(h["Millrace-Error"][0], "too long for type") {
		t.Errorf("the error is %v", h["Millrace-Error"])
	}
	r.wantLog("null value in column ts")
}

// TestRefusedReachesFurther: an outlet that reached further before the session goes on reaching as far.
func TestRefusedReachesFurther(t *testing.T) {
	r := sinkRig(t).open(nil)
	for _, o := range r.outlets {
		o.Reached = []progress.Position{{Seq: 1}, {Seq: 9, Index: 2}}
	}
	r.take(looses("a")...)
	p := r.chain.Refuse(r.step, []stage.RefusedRow{{Row: 0}}, []progress.Position{{Seq: 1, Index: 5}, {}})
	if got, want := p.Outputs[0].Reach, []progress.Position{{Seq: 1, Index: 5}, {Seq: 9, Index: 2}}; !slices.Equal(got, want) {
		t.Errorf("reaches to %v, want %v", got, want)
	}
}
