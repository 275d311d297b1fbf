package chain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	eventframe "millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// TestVerdicts: what becomes of the second of three events.
func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(b *stage.Batch, i int)
		want  []string
		tally chain.Tally
	}{
		"none": {
			func(*stage.Batch, int) {},
			[]string{"a.out.0: e0 e1 e2"},
			chain.Tally{Events: 3, Emitted: 3, Out: 3},
		},
		"emitted on out": {
			func(b *stage.Batch, i int) { b.Emit(i, stage.Out) },
			[]string{"a.out.0: e0 e1 e2"},
			chain.Tally{Events: 3, Emitted: 3, Out: 3},
		},
		"emitted on another port of frames": {
			func(b *stage.Batch, i int) { b.Emit(i, late) },
			[]string{"a.out.0: e0 e2", "a.late.0: e1"},
			chain.Tally{Events: 3, Emitted: 3, Out: 2, Ports: []chain.Count{{Name: "late", N: 1}}},
		},
		"emitted on a port of CloudEvents": {
			func(b *stage.Batch, i int) { b.Emit(i, stage.Insights) },
			[]string{"a.out.0: e0 e2", "a.insights.a.info.0: e1"},
			chain.Tally{Events: 3, Emitted: 3, Out: 2, Ports: []chain.Count{{Name: "insights", N: 1}}},
		},
		"emitted on several ports": {
			func(b *stage.Batch, i int) { b.Emit(i, stage.Out|late|stage.Insights) },
			[]string{"a.out.0: e0 e1 e2", "a.insights.a.info.0: e1", "a.late.0: e1"},
			chain.Tally{Events: 3, Emitted: 3, Out: 3, Ports: []chain.Count{{Name: "insights", N: 1}, {Name: "late", N: 1}}},
		},
		"emitted on several ports, of which one is not there": {
			func(b *stage.Batch, i int) { b.Emit(i, late|1<<20) },
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 unknown_port"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, DeadLettered: 1, Reasons: []chain.Count{{Name: "unknown_port", N: 1}}},
		},
		"emitted as received": {
			func(b *stage.Batch, i int) { b.Emit(i, raw) },
			[]string{"a.out.0: e0 e2", "a.raw.0: e1"},
			chain.Tally{Events: 3, Emitted: 3, Out: 2, Ports: []chain.Count{{Name: "raw", N: 1}}},
		},
		"emitted on a port that is not there": {
			func(b *stage.Batch, i int) { b.Emit(i, 1<<20) },
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 unknown_port"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, DeadLettered: 1, Reasons: []chain.Count{{Name: "unknown_port", N: 1}}},
		},
		"the dead letters are no port": {
			func(b *stage.Batch, i int) { b.Emit(i, 1<<1) },
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 unknown_port"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, DeadLettered: 1, Reasons: []chain.Count{{Name: "unknown_port", N: 1}}},
		},
		"filtered": {
			func(b *stage.Batch, i int) { b.Filter(i) },
			[]string{"a.out.0: e0 e2"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, Filtered: 1},
		},
		"duplicate": {
			func(b *stage.Batch, i int) { b.Duplicate(i) },
			[]string{"a.out.0: e0 e2"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, Duplicates: 1},
		},
		"dead letter": {
			func(b *stage.Batch, i int) { b.DeadLetter(i, "rule_failed", errors.New("no")) },
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 rule_failed"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, DeadLettered: 1, Reasons: []chain.Count{{Name: "rule_failed", N: 1}}},
		},
		"dead letter without a reason": {
			func(b *stage.Batch, i int) { b.DeadLetter(i, "", nil) },
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 unspecified"},
			chain.Tally{Events: 3, Emitted: 2, Out: 2, DeadLettered: 1, Reasons: []chain.Count{{Name: "unspecified", N: 1}}},
		},
		"too late": {
			func(b *stage.Batch, _ int) { b.TooLate() },
			[]string{"a.out.0: e0 e1 e2"},
			chain.Tally{Events: 3, Emitted: 3, Out: 3, Late: 1},
		},
	} {
		for kind, messages := range map[string][]chain.Message{
			"loose": looses("e0", "e1", "e2"), "frame": {frame(t, "e0", "e1", "e2")},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				r := newRig(t, fake{process: on(c.do, "e1")})
				r.want(r.take(messages...), c.want...)
				r.wantTally(0, c.tally)
				if got := r.chain.Last(0); got != uint64(len(messages)) {
					t.Errorf("processed up to %d of %d", got, len(messages))
				}
			})
		}
	}
}

// TestUndecodable: what is no event becomes a dead letter in its place, and the events around it go on.
func TestUndecodable(t *testing.T) {
	bad := chain.Message{Subject: "in.raw", Message: decode.Message{Header: map[string][]string{"X-Sender": {"me"}, "Nats-Msg-Id": {"1"}}, Data: []byte("{")}}
	lines := chain.Message{Subject: "in.raw", Message: decode.Message{
		Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}},
		Data:   []byte(strings.Join([]string{eventJSON("e0"), "{", eventJSON("e1"), "}"}, "\n")),
	}}
	for name, c := range map[string]struct {
		messages []chain.Message
		want     []string
	}{
		"a message":           {[]chain.Message{bad}, []string{"a.dead.0: ? undecodable"}},
		"first":               {append([]chain.Message{bad}, looses("e0", "e1")...), []string{"a.dead.0: ? undecodable", "a.out.0: e0 e1"}},
		"between":             {[]chain.Message{loose("e0"), bad, loose("e1")}, []string{"a.out.0: e0 e1", "a.dead.0: ? undecodable"}},
		"lines of a message":  {[]chain.Message{lines}, []string{"a.out.0: e0 e1", "a.dead.0: ? undecodable", "a.dead.0: ? undecodable"}},
		"behind other events": {[]chain.Message{loose("e"), lines}, []string{"a.out.0: e e0 e1", "a.dead.0: ? undecodable", "a.dead.0: ? undecodable"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{})
			r.want(r.take(c.messages...), c.want...)
			if name == "a message" {
				h := r.step.Pending[0].Outputs[0].Header
				if h["X-Sender"] == nil || h["Nats-Msg-Id"] != nil {
					t.Errorf("headers of the sender: %v", h)
				}
				for name, want := range map[string]string{
					"Millrace-Stream": "IN", "Millrace-Subject": "in.raw", "Millrace-Sequence": "1", "Millrace-Index": "0",
					"Millrace-Stage": "a", "Millrace-Time": "2023-11-14T22:13:20Z", eventframe.HeaderEvents: "1",
				} {
					if got := h[name]; len(got) != 1 || got[0] != want {
						t.Errorf("%s: got %v, want %s", name, got, want)
					}
				}
			}
		})
	}
}

// TestTogether: loose messages are given to a stage without state at once, as far as they were stored within 100 ms and up to 256
// of them; to one with state one by one.
func TestTogether(t *testing.T) {
	for name, c := range map[string]struct {
		stateful bool
		messages func() []chain.Message
		want     []int
	}{
		"at once":    {false, func() []chain.Message { return looses("a", "b", "c") }, []int{3}},
		"with state": {true, func() []chain.Message { return looses("a", "b", "c") }, []int{1, 1, 1}},
		"up to 256": {false, func() []chain.Message {
			all := looses(strings.Split(strings.Repeat("x,", 299)+"x", ",")...)
			for i := range all {
				all[i].Time = began.UnixNano()
			}
			return all
		}, []int{100, 100, 56, 44}}, // in calls of 100 at most
		"as far as 100 ms": {false, func() []chain.Message {
			all := looses("a", "b", "c")
			all[2].Time = began.Add(200 * time.Millisecond).UnixNano()
			return all
		}, []int{2, 1}},
		"a clock that went back": {false, func() []chain.Message {
			all := looses("a", "b", "c")
			all[1].Time = began.Add(-200 * time.Millisecond).UnixNano()
			return all
		}, []int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			r := newRig(t, fake{process: func(b *stage.Batch) error { got = append(got, len(b.Events)); return nil }})
			r.stateful = c.stateful
			r.take(c.messages()...)
			if !slices.Equal(got, c.want) {
				t.Errorf("calls of %v events, want %v", got, c.want)
			}
		})
	}
}

// TestStopped: what a lane that is given back has not begun is not in the step any more.
func TestStopped(t *testing.T) {
	for _, kind := range []string{"one stage", "two"} {
		t.Run(kind, func(t *testing.T) {
			stages := []fake{{}}
			if kind == "two" {
				stages = append(stages, fake{})
			}
			done := 0
			stages[0].process = func(*stage.Batch) error { done++; return nil }
			r := newRig(t, stages...)
			r.stopped = func() bool { return done == 2 }
			r.open(nil)
			r.add(frame(t, "e0"), frame(t, "e1"), frame(t, "e2"), frame(t, "e3"))
			want := "a.out.0: e0 e1"
			if got := r.take(); len(got) == 0 || got[0] != want {
				t.Errorf("got %v, want %s", got, want)
			}
			if n := len(r.step.Messages); n != 2 {
				t.Errorf("%d messages are in the step", n)
			}
		})
	}
}

// TestEndedContext: a chain whose context has ended goes on with nothing.
func TestEndedContext(t *testing.T) {
	for name, messages := range map[string][]chain.Message{"loose": looses("a"), "frames": {frame(t, "b"), frame(t, "c")}} {
		t.Run(name, func(t *testing.T) {
			block := make(chan struct{})
			r := newRig(t, fake{}, fake{process: func(*stage.Batch) error { <-block; return nil }}).open(nil)
			ctx, cancel := context.WithCancel(t.Context())
			ctx, end := r.chain.Start(ctx)
			r.add(messages...)
			for range 20 {
				r.add(messages...)
			}
			cancel()
			for range 5 { // until a select has seen it
				r.chain.Take(ctx, r.step)
			}
			if r.chain.Take(ctx, r.step) && r.chain.Settle(ctx) {
				t.Error("the chain goes on")
			}
			close(block)
			end()
		})
	}
}
