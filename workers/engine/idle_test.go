package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// ticking is a stage with state that compares the times of its flushes with those of its events.
type ticking struct {
	testStage
	flushed, early atomic.Int64 // Unix seconds of the last flush; events of a time that was flushed before
}

func newTicking() *ticking {
	s := &ticking{}
	s.stateful = true
	s.process = func(_ context.Context, b *stage.Batch) error {
		if b.Now.Unix() < s.flushed.Load() {
			s.early.Add(1)
		}
		return nil
	}
	s.flush = func(now time.Time, _ bool, _ *stage.Batch) error {
		s.flushed.Store(now.Unix())
		return nil
	}
	return s
}

func (s *ticking) run(r *rig, ahead time.Duration) *running {
	return r.run(&s.testStage, func(_ *config.StageConfig, o *engine.Options) {
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	})
}

// TestIdleFlushByTheClockOfTheServer: the clock of a worker that is ahead does not end what may still get messages.
func TestIdleFlushByTheClockOfTheServer(t *testing.T) {
	t.Parallel() // most of it is waiting for seconds
	r := newRig(t)
	s := newTicking()
	e := s.run(r, time.Minute)
	for i := range 3 {
		r.publish(fmt.Sprint("e", i, "."), 1)
		r.wantDrained(10 * time.Second)
		time.Sleep(2500 * time.Millisecond)
	}
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if s.flushed.Load() == 0 || s.flushed.Load() > time.Now().Unix() || s.early.Load() > 0 {
		t.Errorf("flushed up to %s, %d messages came later than that", time.Unix(s.flushed.Load(), 0), s.early.Load())
	}
}

// TestIdleFlushWaitsForWhatIsPending: while a delivery stalls, the time of its messages is not over.
func TestIdleFlushWaitsForWhatIsPending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := newTicking()
	e := s.run(r, 0)
	r.publish("e", 1)
	r.wantDrained(10 * time.Second)
	if _, err := r.js.PauseConsumer(t.Context(), "IN", "stage", time.Now().Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	r.publish("late", 1)
	r.wantDrained(20 * time.Second)
	eventually(t, 10*time.Second, func() string {
		if s.flushed.Load() == 0 {
			return "nothing was flushed"
		}
		return ""
	})
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if s.early.Load() > 0 {
		t.Error("the message came when its time was over")
	}
}
