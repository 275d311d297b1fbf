package gather

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func overflows(b *config.Breaker) { b.WhenOpen, b.ReplayShare = config.WhenOpenOverflow, 0.25 }

func replayed(b *stage.Batch) *stage.Batch {
	b.Replayed = true
	return b
}

// TestOverflow: while the breaker is not closed, events with too few answers are sent aside, whatever onIncomplete says, and those that were asked
// about before it opened as well. Events that are replayed are the ones to try with; others are sent aside until it is closed.
func TestOverflow(t *testing.T) {
	for _, what := range []config.OnIncomplete{config.IncompleteEmit, config.IncompleteRetry, config.IncompleteDeadLetter, config.IncompleteHold} {
		t.Run(string(what), func(t *testing.T) { testOverflow(t, what) })
	}
}

func testOverflow(t *testing.T, what config.OnIncomplete) {
	r := newRig(t, natsserver.Options{})
	var down atomic.Bool
	var asked atomic.Int64
	down.Store(true)
	r.respond(func(m *nats.Msg) {
		asked.Add(1)
		if !down.Load() {
			_ = m.Respond(idOf(m.Data))
		}
	})
	s := r.guardedBy(asking(func(c *config.Gather) { c.OnIncomplete = what }), overflows)
	b := process(t, s, batch(t, 100))
	for i := range b.Events {
		if got := became(b, i); !strings.HasPrefix(got, "overflowed") {
			t.Fatalf("event %d, asked about while it opened: %s", i, got)
		}
	}
	before := asked.Load()
	for _, b := range []*stage.Batch{batch(t, 500), replayed(batch(t, 500))} {
		process(t, s, b)
		if got := became(b, 499); !strings.HasPrefix(got, "overflowed the circuit breaker of ask is open, for another") {
			t.Errorf("replayed %t: %s", b.Replayed, got)
		}
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("asked %d times with an open breaker", n)
	}
	down.Store(false)
	time.Sleep(1600 * time.Millisecond) // from now on there may be trials
	if b := process(t, s, batch(t, 50)); !strings.HasPrefix(became(b, 0), "overflowed") || asked.Load() != before {
		t.Errorf("an event that is no replay: %s, asked %d times", became(b, 0), asked.Load()-before)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		b := process(t, s, replayed(batch(t, 20)))
		if got, notes := became(b, 19), s.Notes(); got != "emitted id=19 status=complete" || len(notes) > 0 {
			return fmt.Errorf("%s, %v", got, notes)
		}
		return nil
	})
	if b := process(t, s, batch(t, 20)); became(b, 19) != "emitted id=19 status=complete" {
		t.Errorf("behind the trials: %s", became(b, 19))
	}
}

// TestHoldGoesAside: what would hold its lane is sent aside, also while the breaker is closed; the replay holds.
func TestHoldGoesAside(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		if strings.Contains(string(m.Data), `"id":"7"`) {
			_ = m.Respond([]byte(`{"error": {"message": "busy"}}`))
			return
		}
		_ = m.Respond(idOf(m.Data))
	})
	s := r.guardedBy(asking(func(c *config.Gather) { c.OnIncomplete = config.IncompleteHold }), overflows)
	live, again := process(t, s, batch(t, 40)), process(t, s, replayed(batch(t, 40)))
	for _, b := range []*stage.Batch{live, again} {
		if got := became(b, 8); got != "emitted id=8 status=complete" {
			t.Errorf("replayed %t: %s", b.Replayed, got)
		}
	}
	if got := became(live, 7); got != "overflowed 0 of 1 answers: busy" {
		t.Errorf("live: %s", got)
	}
	if got := became(again, 7); got != "retried 0 of 1 answers: busy" || !stage.IsUnavailable(again.Decision(7).Err) {
		t.Errorf("replayed: %s", got)
	}
	if notes := s.Notes(); len(notes) > 0 {
		t.Errorf("notes: %v", notes)
	}
}

// TestOverflowOfOneEndpoint: an event that has what it needs without the endpoint whose breaker is open is emitted.
func TestOverflowOfOneEndpoint(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	both := asking(serving(t, nil, says(200, `{"attributes": {"a": 1}}`), says(500, "")))
	s := r.guardedBy(both, overflows)
	process(t, s, batch(t, 50))
	if b := process(t, s, batch(t, 50)); !strings.HasPrefix(became(b, 0), "overflowed") {
		t.Errorf("with a quorum of two: %s", became(b, 0))
	}
	both.Quorum = 1
	c := &config.StageConfig{Stage: "s", Kind: config.KindGather, Gather: both}
	next, err := s.Reload(c)
	if err != nil {
		t.Fatal(err)
	}
	if b := process(t, next, batch(t, 50)); became(b, 0) != "emitted a=1 status=complete" {
		t.Errorf("with a quorum of one: %s", became(b, 0))
	}
}

// TestReplaysMakeWay: requests of events that are replayed have their share of those under way, and others are sent first.
func TestReplaysMakeWay(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	var waiting atomic.Int64
	release := make(chan struct{})
	r.respond(func(m *nats.Msg) {
		if !strings.Contains(string(m.Data), `"own":1`) {
			t.Errorf("no event: %s", m.Data)
		}
		waiting.Add(1)
		go func() {
			<-release
			_ = m.Respond([]byte(`{"attributes": {"a": 1}}`))
		}()
	})
	s := r.guardedBy(asking(func(c *config.Gather) { c.Timeout = config.Duration(20 * time.Second) }), overflows)
	done := make(chan *stage.Batch, 2)
	begin := func(b *stage.Batch) {
		s.Begin(context.WithoutCancel(t.Context()), b, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done <- b
		})
	}
	waits := func(n int64) {
		t.Helper()
		harness.Eventually(t, 10*time.Second, func() error {
			if got := waiting.Load(); got != n {
				return fmt.Errorf("%d requests wait, want %d", got, n)
			}
			return nil
		})
	}
	begin(replayed(batch(t, 200)))
	waits(16) // a quarter of 64
	begin(batch(t, 48))
	waits(64)
	close(release)
	for range 2 {
		if b := <-done; became(b, 0) != "emitted a=1 status=complete" {
			t.Errorf("got %s", became(b, 0))
		}
	}
}
