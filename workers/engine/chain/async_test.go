package chain_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/stage"
)

// asking is a stage that answers each batch after a while, in a goroutine of its own.
type asking struct {
	fake
	inFlight int
	answer   func(b *stage.Batch) (after time.Duration, err error)

	mu            sync.Mutex
	waiting, most int
}

func (s *asking) InFlight() int { return s.inFlight }

func (s *asking) Begin(ctx context.Context, b *stage.Batch, done func(error)) {
	s.mu.Lock()
	s.waiting++
	s.most = max(s.most, s.waiting)
	s.mu.Unlock()
	after, err := s.answer(b)
	go func() {
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
		if err == nil {
			err = s.Process(ctx, b)
		}
		done(err)
	}()
}

// newAsking makes a chain whose first stage is s.
func newAsking(t testing.TB, s *asking, others ...fake) *rig {
	r := newRig(t, append([]fake{s.fake}, others...)...)
	r.stages[0] = s
	return r.open(nil)
}

// frames are messages of two events each.
func frames(t testing.TB, n int) (messages []chain.Message, all []string) {
	for i := range n {
		a, b := fmt.Sprint("e", i, ".0"), fmt.Sprint("e", i, ".1")
		messages, all = append(messages, frame(t, a, b)), append(all, a, b)
	}
	return messages, all
}

func line(subject string, ids ...string) string {
	text := subject + ":"
	for _, id := range ids {
		text += " " + id
	}
	return text
}

// TestAnswersLater: many batches wait for their answers at once, which come in any order; outputs are in the order of the input.
func TestAnswersLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &asking{inFlight: 16, answer: func(*stage.Batch) (time.Duration, error) {
			return time.Duration(50+rand.IntN(50)) * time.Millisecond, nil
		}}
		r := newAsking(t, s, fake{})
		messages, all := frames(t, 50)
		began := time.Now()
		r.want(r.take(messages...), line("a.out.0", all...), line("b.out.0", all...))
		if took := time.Since(began); took > 600*time.Millisecond || s.most != 16 {
			t.Errorf("%s, %d batches at once", took, s.most)
		}
		r.wantTally(0, chain.Tally{Events: 100, Emitted: 100, Out: 100})
	})
}

// TestLooseMessagesAreAskedTogether: single messages are asked about in one batch, as far as they go together.
func TestLooseMessagesAreAskedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &asking{inFlight: 4, answer: func(*stage.Batch) (time.Duration, error) { asked++; return time.Second, nil }}
		r := newAsking(t, s)
		r.want(r.take(looses("a", "b", "c")...), "a.out.0: a b c")
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestLargeMessagesAreNotAsked: what a stage adds to the events of one message goes to one memory, so the parts of a message are
// processed one after another.
func TestLargeMessagesAreNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &asking{inFlight: 4, answer: func(*stage.Batch) (time.Duration, error) { asked++; return time.Second, nil }}
		r := newRig(t, s.fake)
		r.stages[0], r.limits.MaxEvents = s, 2
		r.open(nil)
		r.want(r.take(frame(t, "a", "b", "c"), frame(t, "d", "e")), "a.out.0: a b", "a.out.0: c d", "a.out.0: e")
		if asked != 1 {
			t.Errorf("asked about %d messages, want the second one", asked)
		}
	})
}

// hasty answers a second time when the first answer was read.
type hasty struct{ *asking }

func (s hasty) Begin(ctx context.Context, b *stage.Batch, done func(error)) {
	s.asking.Begin(ctx, b, func(err error) {
		done(err)
		go func() {
			time.Sleep(time.Second)
			done(errNo)
		}()
	})
}

// TestSecondAnswer: it counts for nothing, whenever it comes.
func TestSecondAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &asking{inFlight: 2, answer: func(*stage.Batch) (time.Duration, error) { return 300 * time.Millisecond, nil }}
		r := newRig(t, s.fake)
		r.stages[0] = hasty{s}
		r.open(nil)
		messages, all := frames(t, 20)
		r.want(r.take(messages...), line("a.out.0", all...))
		if s.most > 2 {
			t.Errorf("%d batches waited at once", s.most)
		}
		time.Sleep(2 * time.Second) // the last second answers
	})
}

// TestAnswersThatFail: an error finds the event to blame, what is away is waited for, and a panic is a dead letter. The others are not
// held up for longer, and nothing overtakes.
func TestAnswersThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(id string) error
		process func(b *stage.Batch) error
		want    []string
	}{
		"one event is to blame": {
			func(id string) error {
				if id == "e1.0" {
					return errNo
				}
				return nil
			},
			on(func(b *stage.Batch, i int) { b.DeadLetter(i, "test", errNo) }, "e1.1"),
			[]string{"a.out.0: e0.0 e0.1 e1.0 e2.0 e2.1 e3.0 e3.1", "a.dead.0: e1.1 test"},
		},
		"it is away for a while": {
			func(id string) error {
				if id == "e1.0" {
					return stage.Unavailable(errNo)
				}
				return nil
			},
			nil,
			[]string{"a.out.0: e0.0 e0.1 e1.0 e1.1 e2.0 e2.1 e3.0 e3.1"},
		},
		"for good": {
			func(id string) error {
				if id == "e1.0" {
					return stage.Permanent(errNo)
				}
				return nil
			},
			func(b *stage.Batch) error {
				if slices.Contains(ids(b), "e1.1") {
					return stage.Permanent(errNo)
				}
				return nil
			},
			[]string{"a.out.0: e0.0 e0.1 e1.0 e2.0 e2.1 e3.0 e3.1", "a.dead.0: e1.1 permanent_error"},
		},
		"a panic": {
			func(id string) error {
				if id == "e1.0" {
					panic("no")
				}
				return nil
			},
			func(b *stage.Batch) error {
				if slices.Contains(ids(b), "e1.0") {
					panic("no")
				}
				return nil
			},
			[]string{"a.out.0: e0.0 e0.1 e1.1 e2.0 e2.1 e3.0 e3.1", "a.dead.0: e1.0 panic"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &asking{fake: fake{process: c.process}, inFlight: 2, answer: func(b *stage.Batch) (time.Duration, error) {
					return 100 * time.Millisecond, c.answer(b.Events[0].ID)
				}}
				messages, _ := frames(t, 4)
				r := newAsking(t, s)
				r.want(r.take(messages...), c.want...)
			})
		})
	}
}

// TestAnswersThatNeverCome: the session ends, and nothing of the step is to be stored.
func TestAnswersThatNeverCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &asking{inFlight: 2, answer: func(*stage.Batch) (time.Duration, error) { return 1000 * time.Hour, nil }}
		r := newAsking(t, s)
		messages, _ := frames(t, 4)
		r.add(messages...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ctx, end := r.chain.Start(ctx)
		passed := false
		if r.chain.Take(ctx, r.step) {
			r.chain.Through(ctx, r.step, func() bool { passed = true; return true })
		}
		<-ctx.Done()
		end()
		if passed {
			t.Error("the step is through")
		}
		if got := r.chain.InCall(time.Now()); got != 0 {
			t.Errorf("a call goes on since %s", got)
		}
	})
}
