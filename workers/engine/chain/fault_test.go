package chain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/stage"
)

var errNo = errors.New("no")

// TestRetry: what a stage wants to try again, how often it does, and how long that takes. Back-off begins at one second.
func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		process func(b *stage.Batch, call int) error
		want    []string
		took    time.Duration
		retried int64
		log     string
	}{
		"mends by itself": {
			func(b *stage.Batch, _ int) error {
				return on(func(b *stage.Batch, i int) {
					if b.Attempt < 3 {
						b.Retry(i, errNo)
					}
				}, "e1")(b)
			},
			[]string{"a.out.0: e0 e1 e2"},
			3 * time.Second, 2, "",
		},
		"never": {
			func(b *stage.Batch, _ int) error {
				return on(func(b *stage.Batch, i int) { b.Retry(i, errNo) }, "e1")(b)
			},
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 retries_exhausted after 3"},
			3 * time.Second, 2, "after 3 attempts: no",
		},
		"never, without a reason": {
			func(b *stage.Batch, _ int) error {
				return on(func(b *stage.Batch, i int) { b.Retry(i, nil) }, "e1")(b)
			},
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 retries_exhausted after 3"},
			3 * time.Second, 2, "no reason given",
		},
		"all at once": {
			func(b *stage.Batch, call int) error {
				for i := range b.Events {
					if call <= 1 {
						b.Retry(i, errNo)
					}
				}
				return nil
			},
			[]string{"a.out.0: e0 e1 e2"},
			time.Second, 3, "",
		},
		"an error blames one": {
			func(b *stage.Batch, _ int) error {
				if strings.Contains(strings.Join(ids(b), " "), "e1") {
					return errNo
				}
				return nil
			},
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 retries_exhausted after 3"},
			3 * time.Second, 2, "",
		},
		"a permanent one at once": {
			func(b *stage.Batch, _ int) error {
				if strings.Contains(strings.Join(ids(b), " "), "e1") {
					return stage.Permanent(errNo)
				}
				return nil
			},
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 permanent_error"},
			0, 0, "",
		},
		"a panic, too": {
			func(b *stage.Batch, _ int) error {
				if strings.Contains(strings.Join(ids(b), " "), "e1") {
					panic("at e1")
				}
				return nil
			},
			[]string{"a.out.0: e0 e2", "a.dead.0: e1 panic"},
			0, 0, "panic: at e1",
		},
		"what is away blames nobody": {
			func(_ *stage.Batch, call int) error {
				if call <= 10 {
					return stage.Unavailable(errNo)
				}
				return nil
			},
			// 1, 2, 4, 8 s, and then 10 s each.
			[]string{"a.out.0: e0 e1 e2"},
			75 * time.Second, 30, "the stage waits for what it calls",
		},
		"one event waits for what is away": {
			func(b *stage.Batch, call int) error {
				return on(func(b *stage.Batch, i int) {
					if call <= 5 {
						b.Retry(i, stage.Unavailable(errNo))
					}
				}, "e1")(b)
			},
			[]string{"a.out.0: e0 e1 e2"},
			25 * time.Second, 5, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call := 0
				r := newRig(t, fake{process: func(b *stage.Batch) error { call++; return c.process(b, call) }})
				start := time.Now()
				r.want(r.take(frame(t, "e0", "e1", "e2")), c.want...)
				if took := time.Since(start); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if got := r.step.Tallies[0].Retried; got != c.retried {
					t.Errorf("%d events were tried again, want %d", got, c.retried)
				}
				if n := int(r.calls.Load()); n != call {
					t.Errorf("%d of %d calls were observed", n, call)
				}
				if r.chain.Waiting() || r.chain.InCall(time.Now()) != 0 {
					t.Error("the chain says that it still waits")
				}
				r.wantLog(c.log)
			})
		})
	}
}

// TestWaitingIsSaid: while what a stage calls is away, the chain says so, and takes it back.
func TestWaitingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		r := newRig(t, fake{process: func(*stage.Batch) error {
			time.Sleep(time.Second)
			if !back.Load() {
				return stage.Unavailable(errNo)
			}
			return nil
		}}).open(nil)
		go func() {
			time.Sleep(500 * time.Millisecond)
			if got := r.chain.InCall(time.Now()); got != 500*time.Millisecond {
				t.Errorf("in a call for %s", got)
			}
			time.Sleep(time.Second)
			if !r.chain.Waiting() {
				t.Error("the chain does not say that it waits")
			}
			back.Store(true)
		}()
		r.want(r.take(loose("e")), "a.out.0: e")
		if diff := cmp.Diff([]string{"stage a waits: no", ""}, r.problems); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRetryOfALaneThatEnds: nothing of the step is stored.
func TestRetryOfALaneThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stop atomic.Bool
		r := newRig(t, fake{process: func(*stage.Batch) error { return stage.Unavailable(errNo) }})
		r.stopped = func() bool { return stop.Load() }
		r.open(nil).add(frame(t, "e"))
		time.AfterFunc(time.Minute, func() { stop.Store(true) })
		if _, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) }); ok {
			t.Error("the chain goes on")
		}
	})
}

// TestPanicOfState: a stage with state that panics ends the session. In the next one the events of that message come one by one,
// and in the one after that the event that panicked alone is a dead letter.
func TestPanicOfState(t *testing.T) {
	var calls []string
	r := newRig(t, fake{process: func(b *stage.Batch) error {
		got := strings.Join(ids(b), " ")
		calls = append(calls, got)
		if strings.Contains(got, "e1") {
			panic("at e1")
		}
		return nil
	}})
	r.stateful = true
	broken := func(want ...string) {
		t.Helper()
		calls = nil
		r.open(nil).add(frame(t, "e0", "e1", "e2"))
		if _, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) }); ok || !errors.Is(r.aborted, chain.ErrPanicked) || !r.chain.Broken() {
			t.Fatalf("the session goes on: %v", r.aborted)
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("calls differ:\n%s", diff)
		}
		r.suspects.Rebuilt(time.Now())
	}
	broken("e0 e1 e2")
	broken("e0", "e1")
	calls = nil
	r.open(nil)
	r.want(r.take(frame(t, "e0", "e1", "e2")), "a.out.0: e0 e2", "a.dead.0: e1 panic")
	if diff := cmp.Diff([]string{"e0", "e2"}, calls); diff != "" {
		t.Errorf("calls differ:\n%s", diff)
	}
	r.suspects.Forget() // another stream has other messages under these numbers
	broken("e0 e1 e2")
}

// TestPanicInARetry ends the session, too.
func TestPanicInARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, fake{process: func(b *stage.Batch) error {
			if b.Attempt > 1 {
				panic("again")
			}
			b.Retry(0, errNo)
			return nil
		}})
		r.stateful = true
		r.open(nil).add(loose("e"))
		if _, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) }); ok || r.aborted == nil {
			t.Error("the session goes on")
		}
	})
}

// TestErrorThenPanicOfState: the error has the events come one by one, and one of them panics.
func TestErrorThenPanicOfState(t *testing.T) {
	r := newRig(t, fake{process: func(b *stage.Batch) error {
		if len(b.Events) > 1 {
			return errNo
		}
		panic("alone")
	}})
	r.stateful = true
	r.open(nil).add(frame(t, "e0", "e1"))
	if _, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) }); ok || r.aborted == nil {
		t.Error("the session goes on")
	}
}

// TestRebuildsAreBounded: a lane whose stage panics again and again has its state rebuilt six times in ten minutes. After that what
// panics is a dead letter at once.
func TestRebuildsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, fake{process: func(*stage.Batch) error { panic("always") }})
		r.stateful = true
		session := func(i int) bool {
			r.open(nil).add(loose(fmt.Sprint("e", i)))
			r.step.Messages[0].Sequence = uint64(i)
			_, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) })
			r.suspects.Rebuilt(time.Now())
			return ok
		}
		for i := range 6 {
			if session(i + 1) {
				t.Fatal("the session goes on")
			}
		}
		if !session(7) {
			t.Error("the state is rebuilt without an end")
		}
		time.Sleep(10 * time.Minute)
		if session(8) {
			t.Error("the state is not rebuilt after a while")
		}
	})
}

// waiting is a fake that waits until its context ends.
type waiting struct {
	fake
	ended []time.Duration
}

func (w *waiting) Process(ctx context.Context, _ *stage.Batch) error {
	if len(w.ended) == 2 {
		return nil
	}
	began := time.Now()
	<-ctx.Done()
	w.ended = append(w.ended, time.Since(began))
	return stage.Unavailable(ctx.Err())
}

// TestCallsHaveADeadline: a stage that waits for an answer which never comes gives up, and is called again.
func TestCallsHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiting{}
		r := newRig(t)
		r.stages = []stage.Stage{w}
		r.want(r.take(looses("a")...), "a.out.0: a")
		if !slices.Equal(w.ended, []time.Duration{time.Minute, time.Minute}) {
			t.Errorf("calls ended after %v, want a minute", w.ended)
		}
	})
}
