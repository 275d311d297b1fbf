package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// TestWhatIsAwayBlamesNobody: what a stage calls is away for longer than all attempts take. The batch, or single events of it,
// wait; the worker says why and is not ready; then everything goes on, and nothing is a dead letter.
func TestWhatIsAwayBlamesNobody(t *testing.T) {
	for name, fail := range map[string]func(b *stage.Batch, err error) error{
		"the whole batch": func(_ *stage.Batch, err error) error { return err },
		"single events": func(b *stage.Batch, err error) error {
			for i := 0; i < len(b.Events); i += 3 {
				b.Retry(i, err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var away atomic.Bool
			away.Store(true)
			var calls atomic.Int32
			s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
				calls.Add(1)
				if away.Load() {
					return fail(b, stage.Unavailable(errors.New("the directory does not answer")))
				}
				return nil
			}}
			ids := r.publishFrames("f", 3, 20)
			e := r.run(s, func(c *config.StageConfig, _ *engine.Options) {
				c.Retry = config.Retry{MaxAttempts: 2, InitialBackoff: config.Duration(5 * time.Millisecond), MaxBackoff: config.Duration(20 * time.Millisecond)}
			})
			eventually(t, 10*time.Second, func() string {
				if ok, text := e.Ready(); ok || !strings.Contains(text, "stage validate waits: the directory does not answer") || calls.Load() < 10 {
					return text
				}
				return ""
			})
			if ok, text := e.Alive(); !ok {
				t.Errorf("not alive: %s", text)
			}
			away.Store(false)
			r.wantDrained(10 * time.Second)
			if ok, text := e.Ready(); !ok {
				t.Errorf("not ready: %s", text)
			}
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", ids)
			if n := len(r.stored("DEAD")); n != 0 {
				t.Errorf("%d dead letters", n)
			}
		})
	}
}
