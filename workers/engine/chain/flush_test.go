package chain_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/stage"
)

// maxFlushes is how many seconds are flushed one by one.
const maxFlushes = 3600

// TestFlushOfHours: what ends by the clock ends in the same second whether the lane was at work or is taken over hours
// later. So seconds are flushed one by one, for as long as something may end, and then at once.
func TestFlushOfHours(t *testing.T) {
	var seconds []int64
	r := newRig(t, fake{horizon: time.Minute, flush: func(now time.Time, _ bool, _ *stage.Batch) error {
		seconds = append(seconds, now.UnixMilli())
		return nil
	}})
	r.stateful = true
	r.open(nil)
	began := began.UnixMilli()
	if !r.chain.FlushUntil(t.Context(), r.step, began) || !r.chain.FlushUntil(t.Context(), r.step, began+2*3600_000) {
		t.Fatal("the lane does not go on")
	}
	for i, second := range seconds[:len(seconds)-1] {
		if second != began+1000+1000*int64(i) {
			t.Fatalf("flush %d is of second %d", i, (second-began)/1000)
		}
	}
	if n, last := len(seconds), seconds[len(seconds)-1]; n != maxFlushes+1 || last != began+2*3600_000 {
		t.Errorf("%d flushes, the last one of second %d", n, last-began)
	}
	if got := r.chain.Tick(); got != began+2*3600_000 {
		t.Errorf("flushed up to second %d", got-began)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r.chain.FlushUntil(ended, r.step, began+3*3600_000) {
		t.Error("the chain goes on behind the end of its context")
	}
}

// windows makes an event at each flush, and says what it was flushed at.
func windows(b *stage.Batch, now time.Time, final bool) error {
	id := fmt.Sprint("w", now.Unix()-began.Unix())
	if final {
		id = "last"
	}
	b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: id, Source: "s", Type: "t"})
	return nil
}

// TestFlushBetweenMessages: the stages are flushed at each whole second of stream time, before the message behind it. What the
// first one makes goes through the second one, which is flushed behind it.
func TestFlushBetweenMessages(t *testing.T) {
	flush := func(now time.Time, final bool, b *stage.Batch) error { return windows(b, now, final) }
	var seen []string
	see := func(b *stage.Batch) error { seen = append(seen, ids(b)...); return nil }
	r := newRig(t, fake{flush: flush}, fake{process: see, flush: func(now time.Time, _ bool, _ *stage.Batch) error {
		seen = append(seen, fmt.Sprint("flush ", now.Unix()-began.Unix()))
		return nil
	}})
	r.stateful = true
	r.open(nil)
	if !r.chain.Flushes() {
		t.Error("the chain does not say that it flushes")
	}
	messages := []chain.Message{frame(t, "e0"), frame(t, "e1"), frame(t, "e2")}
	for i := range messages {
		messages[i].Time = began.Add(time.Duration(i) * 1500 * time.Millisecond).UnixNano()
	}
	r.want(r.take(messages...), "a.out.0: e0 w1 e1 w2 w3 e2", "b.out.0: e0 w1 e1 w2 w3 e2")
	if diff := cmp.Diff([]string{"e0", "w1", "flush 1", "e1", "w2", "flush 2", "w3", "flush 3", "e2"}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestIdleFlush: while nothing comes the stages are flushed by the clock of the server, each second once.
func TestIdleFlush(t *testing.T) {
	r := newRig(t, fake{flush: func(now time.Time, final bool, b *stage.Batch) error { return windows(b, now, final) }}).open(nil)
	flush := func(second int64) []string {
		if !r.chain.DueAt((began.Unix() + second) * 1000) {
			return nil
		}
		r.step.Reset()
		got, _ := r.run(func(ctx context.Context) bool { return r.chain.FlushUntil(ctx, r.step, (began.Unix()+second)*1000) })
		return got
	}
	r.want(flush(5), "a.out.0: w5") // it was never flushed before
	r.want(flush(5))
	r.want(flush(7), "a.out.0: w6 w7")
}

// quick is a stage that is flushed more often than once a second.
type quick struct {
	flushing
	every time.Duration
}

func (q quick) Every() time.Duration { return q.every }

// TestTicks: a stage is flushed as often as it asks for, and at the same moments in a chain with others.
func TestTicks(t *testing.T) {
	seen := [3][]int64{}
	note := func(i int) fake {
		return fake{flush: func(now time.Time, _ bool, _ *stage.Batch) error {
			seen[i] = append(seen[i], now.Sub(began).Milliseconds())
			return nil
		}}
	}
	r := newRig(t, fake{}, fake{}, fake{})
	r.stages = []stage.Stage{quick{flushing{note(0)}, 200 * time.Millisecond}, quick{flushing{note(1)}, 500 * time.Millisecond}, quick{flushing{note(2)}, 300 * time.Millisecond}}
	r.open(nil)
	r.chain.FlushUntil(t.Context(), r.step, began.UnixMilli()+50)
	r.chain.FlushUntil(t.Context(), r.step, began.UnixMilli()+999)
	r.chain.FlushUntil(t.Context(), r.step, began.UnixMilli()+1001)
	if diff := cmp.Diff([3][]int64{{200, 400, 600, 800, 1000}, {500, 1000}, {1000}}, seen); diff != "" {
		t.Errorf("flushes, in ms (-want +got):\n%s", diff)
	}
}

// TestFinalFlush: at the end everything is emitted, and it is known when.
func TestFinalFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := false
		r := newRig(t, fake{}, fake{flush: func(now time.Time, final bool, b *stage.Batch) error {
			if fail {
				return errNo
			}
			if !now.Equal(time.Now()) {
				t.Errorf("flushed at %s", now)
			}
			return windows(b, now, final)
		}}).open(nil)
		done := make(chan error, 1)
		final := func(ctx context.Context) bool {
			return r.chain.FlushFinal(ctx, r.step, func(err error) { done <- err })
		}
		got, _ := r.run(final)
		r.want(got, "b.out.0: last")
		if err := <-done; err != nil {
			t.Error(err)
		}
		fail = true
		r.step.Reset()
		if got, _ := r.run(final); len(got) > 0 {
			t.Errorf("got %v", got)
		}
		if err := <-done; !errors.Is(err, errNo) {
			t.Errorf("got %v, want %v", err, errNo)
		}
		r.wantLog("the stage failed to flush")
	})
}

// TestPanicInAFlush is an error of the flush.
func TestPanicInAFlush(t *testing.T) {
	r := newRig(t, fake{flush: func(time.Time, bool, *stage.Batch) error { panic("in a flush") }}).open(nil)
	r.chain.FlushUntil(t.Context(), r.step, began.UnixMilli())
	r.run(func(ctx context.Context) bool { return r.chain.FlushUntil(ctx, r.step, began.UnixMilli()+1000) })
	r.wantLog("in a flush")
}

// TestFlushWithoutFlushers does nothing.
func TestFlushWithoutFlushers(t *testing.T) {
	r := newRig(t, fake{}).open(nil)
	if r.chain.Flushes() || !r.chain.FlushUntil(t.Context(), r.step, 1) {
		t.Error("there is something to flush")
	}
}

// TestReplay: what is processed again to know what was known is not stored, of marked events only where the stage needs no others.
func TestReplay(t *testing.T) {
	info, warn := `{"id":%q,"source":"s","type":"app.log","severitynumber":9}`, `{"id":%q,"source":"s","type":"app.log","severitynumber":13}`
	mixed := framed(t, fmt.Sprintf(info, "e0"), fmt.Sprintf(warn, "e1"))
	plain := framed(t, fmt.Sprintf(info, "e2"))
	for name, c := range map[string]struct {
		input  int // 0 is the ingress
		marked bool
		events int
		want   []string
	}{
		"all events":                        {1, false, 2, []string{"e0", "e1", "e2"}},
		"marked events":                     {1, true, 2, []string{"e1"}},
		"the ingress may say what it likes": {0, true, 2, []string{"e0", "e1", "e2"}},
		"a message that comes in parts":     {1, true, 101, []string{"e0", "e1", "e2"}},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []string
			r := newRig(t, fake{marked: c.marked, horizon: time.Minute, process: func(b *stage.Batch) error { seen = append(seen, ids(b)...); return nil }})
			r.stateful = true
			r.open(nil)
			if got := r.chain.Horizon(); got != time.Minute {
				t.Errorf("horizon is %s", got)
			}
			for i, m := range []chain.Message{mixed, plain} {
				r.step.Reset()
				m.Input, m.Sequence = c.input, uint64(i+1)
				r.add(m)
				if r.chain.OnlyMarked() {
					r.step.Messages[0].Only = r.chain.Marks(&r.step.Messages[0], c.events)
				}
				if !r.chain.Replay(t.Context(), r.step) {
					t.Fatal("the chain does not go on")
				}
				if len(r.step.Pending) > 0 {
					t.Error("a replay stores something")
				}
			}
			if diff := cmp.Diff(c.want, seen); diff != "" {
				t.Error(diff)
			}
			if got := r.chain.Last(c.input); got != 2 {
				t.Errorf("processed up to %d of 2", got)
			}
		})
	}
}

// TestPartition: a stage is told the partition of a message, where that is known.
func TestPartition(t *testing.T) {
	for name, c := range map[string]struct {
		input   int
		subject string
		want    int
	}{
		"of a stage":       {1, "other.out.1", 1},
		"of the ingress":   {0, "in.1", -1},
		"no number":        {1, "other.out.x", -1},
		"too large":        {1, "other.out.2", -1},
		"without any dots": {1, "0", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := -2
			r := newRig(t, fake{process: func(b *stage.Batch) error { got = b.Partition; return nil }})
			m := frame(t, "e")
			m.Input, m.Subject = c.input, c.subject
			r.take(m)
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestLanes: a lane among others writes its own partition. One lane alone spreads what it writes.
func TestLanes(t *testing.T) {
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf(`{"id":"e%d","source":"s","type":"t","partitionkey":"k%d"}`, i, i))
	}
	subjects := func(r *rig) (all []string) {
		r.take(framed(t, lines...))
		for _, p := range r.step.Pending {
			all = append(all, p.Outlet.Subject)
		}
		return all
	}
	r := newRig(t, fake{})
	r.lane, r.lanes = 1, 2
	if diff := cmp.Diff([]string{"a.out.1"}, subjects(r)); diff != "" {
		t.Error(diff)
	}
	for i, o := range r.outlets {
		if o.Number != i || o.Port.Name == config.PortOut && o.Subject != "a.out.1" {
			t.Errorf("outlet %d: %+v", i, o)
		}
	}
	r = newRig(t, fake{})
	if got := subjects(r); len(got) != 2 {
		t.Errorf("got %v, want both partitions", got)
	}
}
