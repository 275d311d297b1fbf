package gather

import (
	"context"
	"fmt"
	"net/http"
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

// guarded is a stage with a breaker that opens soon.
func (r *rig) guarded(c *config.Gather) *gatherer { return r.guardedBy(c, nil) }

func (r *rig) guardedBy(c *config.Gather, change func(*config.Breaker)) *gatherer {
	r.t.Helper()
	b := &config.Breaker{
		FailureRatio: 0.5, Window: config.Duration(10 * time.Second), MinCalls: 10, OpenFor: config.Duration(1500 * time.Millisecond), TrialCalls: 3,
	}
	if change != nil {
		change(b)
	}
	return r.start(&config.StageConfig{Gather: c, Breaker: b})
}

// TestBreaker: responders that fail are not asked for a while, events become what onIncomplete says at full speed, and answers come again by themselves.
func TestBreaker(t *testing.T) {
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
	const timeout = time.Second
	s := r.guarded(asking(func(c *config.Gather) { c.Timeout = config.Duration(timeout) }))
	process(t, s, batch(t, 100))
	if notes := s.Notes(); len(notes) != 1 || !strings.HasPrefix(notes[0], "the circuit breaker of ask is open, for another") {
		t.Errorf("notes: %v", notes)
	}
	before, began, unasked := asked.Load(), time.Now(), r.count("unasked_total", "")
	b := process(t, s, batch(t, 1000))
	if took := time.Since(began); took >= timeout {
		t.Errorf("a batch took %s with an open breaker", took)
	}
	for i := range b.Events {
		if got := became(b, i); got != "emitted status=none reason=breaker_open" {
			t.Fatalf("event %d: %s", i, got)
		}
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("asked %d times with an open breaker", n)
	}
	if n := r.count("unasked_total", ""); n != unasked {
		t.Errorf("%g requests count as unasked with an open breaker", n-unasked)
	}
	down.Store(false)
	harness.Eventually(t, 10*time.Second, func() error {
		if got, notes := became(process(t, s, batch(t, 20)), 19), s.Notes(); got != "emitted id=19 status=complete" || len(notes) > 0 {
			return fmt.Errorf("%s, notes %v", got, notes)
		}
		return nil
	})
}

// TestBreakerOfEachEndpoint: one that fails is left out, and the others are asked.
func TestBreakerOfEachEndpoint(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	var asked atomic.Int64
	bad := func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}
	serve := serving(t, nil, says(200, `{"attributes": {"a": 1}}`), bad)
	s := r.guarded(asking(func(c *config.Gather) { serve(c); patient(c) }))
	process(t, s, batch(t, 50))
	before := asked.Load()
	b := process(t, s, batch(t, 50))
	if got := became(b, 0); got != "emitted a=1 status=partial reason=breaker_open" {
		t.Errorf("got %s", got)
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("asked %d times", n)
	}
	if notes := s.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "of b is open") {
		t.Errorf("notes: %v", notes)
	}
}

// TestCallsThatEndDoNotOpen: nobody knows what the responder would have said.
func TestCallsThatEndDoNotOpen(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(*nats.Msg) {})
	s := r.guarded(asking(func(c *config.Gather) { c.Timeout = config.Duration(20 * time.Second) }))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Process(ctx, batch(t, 50)); !stage.IsUnavailable(err) || len(s.Notes()) > 0 {
		t.Errorf("got %v, notes %v", err, s.Notes())
	}
}

// TestOneOfSeveralFails: responders on a subject work if one of them does, whoever is first.
func TestOneOfSeveralFails(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"error": {"message": "busy"}}`))
		_ = m.Respond([]byte(`{"attributes": {"a": 1}}`))
	})
	s := r.guarded(asking(func(c *config.Gather) { c.Quorum, c.Max, c.Timeout = 1, 2, config.Duration(5*time.Second) }))
	b := process(t, s, batch(t, 100))
	if got := became(b, 99); got != "emitted a=1 status=complete" || len(s.Notes()) > 0 {
		t.Errorf("got %s, notes %v", got, s.Notes())
	}
}

// TestAllFail opens it, also when each request has several replies.
func TestAllFail(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"error": {"message": "busy"}}`))
		_ = m.Respond([]byte("no"))
	})
	s := r.guarded(asking(func(c *config.Gather) { c.Quorum, c.Max, c.Timeout = 1, 2, config.Duration(5*time.Second) }))
	process(t, s, batch(t, 100))
	if len(s.Notes()) != 1 {
		t.Errorf("notes %v", s.Notes())
	}
}

// TestRefusalsDoNotOpen: a responder that refuses events works.
func TestRefusalsDoNotOpen(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.answers(`{"error": {"message": "bad", "permanent": true}}`)
	s := r.guarded(asking(patient))
	b := process(t, s, batch(t, 500))
	if got := became(b, 499); got != "dead_lettered refused bad" || len(s.Notes()) > 0 {
		t.Errorf("got %s, notes %v", got, s.Notes())
	}
}
