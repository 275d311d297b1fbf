package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// asking is a stage that answers each batch after a while.
type asking struct {
	testStage
	waiting, most atomic.Int64
}

func (s *asking) New(stage.Settings) (stage.Stage, error) { return s, nil }
func (s *asking) InFlight() int                           { return 32 }

func (s *asking) Begin(ctx context.Context, b *stage.Batch, done func(error)) {
	if n := s.waiting.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	go func() {
		select {
		case <-time.After(time.Duration(5+rand.IntN(20)) * time.Millisecond):
		case <-ctx.Done():
		}
		s.waiting.Add(-1)
		done(s.Process(ctx, b))
	}()
}

// TestStageThatWaitsForAnswers: messages wait side by side, and their events are stored in order and once, though three workers are killed
// while they wait.
func TestStageThatWaitsForAnswers(t *testing.T) {
	r := newRig(t)
	ids := r.publishFrames("f", 600, 4)
	start := func(s *asking) *running {
		return r.run(&s.testStage, func(c *config.StageConfig, o *engine.Options) {
			c.Partitions, c.DrainTimeout, o.Factory = 1, config.Duration(100*time.Millisecond), s
		})
	}
	for range 3 {
		s := &asking{}
		e := start(s)
		before := r.consumerInfo().AckFloor.Stream
		eventually(t, 20*time.Second, func() string {
			if floor := r.consumerInfo().AckFloor.Stream; floor < before+50 {
				return fmt.Sprint("acknowledged up to ", floor)
			}
			return ""
		})
		if s.most.Load() < 8 {
			t.Errorf("%d batches waited at once", s.most.Load())
		}
		e.nc.Close()
		_ = e.end()
	}
	e := start(&asking{})
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	_, got := r.count("OUT")
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}
