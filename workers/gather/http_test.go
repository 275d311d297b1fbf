package gather

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// serving has a server for each handler be asked.
func serving(t *testing.T, change func(*config.Gather), handlers ...http.HandlerFunc) func(*config.Gather) {
	t.Helper()
	h := &config.GatherHTTP{MaxInFlight: 8}
	for i, handler := range handlers {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		h.Endpoints = append(h.Endpoints, config.GatherEndpoint{Name: string(rune('a' + i)), URL: server.URL + "/score"})
	}
	return func(c *config.Gather) {
		c.NATS, c.HTTP, c.Quorum, c.Max, c.Timeout = nil, h, len(handlers), len(handlers), config.Duration(500*time.Millisecond)
		if change != nil {
			change(c)
		}
	}
}

func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// sleeps replies when nobody waits any more.
func sleeps(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestEndpoints(t *testing.T) {
	yes, other := says(200, `{"attributes": {"a": 1}, "responder": "x"}`), says(201, `{"attributes": {"b": 2}, "responder": "x"}`)
	for name, tc := range map[string]struct {
		change   func(*config.Gather)
		handlers []http.HandlerFunc
		want     string
	}{
		"all answer":             {nil, []http.HandlerFunc{yes, other}, "emitted a=1 b=2 status=complete"},
		"one is slow":            {nil, []http.HandlerFunc{yes, sleeps}, "emitted a=1 status=partial reason=timeout"},
		"one is slow, a quorum":  {of(1, 2), []http.HandlerFunc{yes, sleeps}, "emitted a=1 status=complete"},
		"one has no time":        {nil, []http.HandlerFunc{yes, says(503, "later")}, "emitted a=1 status=partial reason=error"},
		"one is refused":         {nil, []http.HandlerFunc{says(422, "bad\nevent"), yes}, "dead_lettered refused endpoint a answers 422 Unprocessable Entity: bad event"},
		"a redirect":             {on(config.IncompleteDeadLetter), []http.HandlerFunc{says(302, "")}, "dead_lettered error 0 of 1 answers: endpoint a answers 302 Found"},
		"no rights":              {on(config.IncompleteDeadLetter), []http.HandlerFunc{says(401, "")}, "dead_lettered error 0 of 1 answers: endpoint a answers 401 Unauthorized"},
		"garbage":                {nil, []http.HandlerFunc{says(200, "<html>")}, "emitted status=none reason=malformed"},
		"a reply without an end": {nil, []http.HandlerFunc{says(200, strings.Repeat(" ", 1<<20))}, "emitted status=none reason=malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			b := process(t, r.stage(asking(serving(t, tc.change, tc.handlers...))), batch(t, 1))
			got := became(b, 0)
			if name == "all answer" && got == "emitted b=2 a=1 status=complete" { // in the order of the answers
				got = tc.want
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestEndpointIsAway: nobody listens, and events are retried or held as ever.
func TestEndpointIsAway(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	s := r.stage(asking(serving(t, func(c *config.Gather) {
		c.HTTP.Endpoints[0].URL, c.OnIncomplete = "http://127.0.0.1:1/?token=abc", config.IncompleteHold
	}, sleeps)))
	b := process(t, s, batch(t, 20))
	for i := range b.Events {
		if d := b.Decision(i); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) || !strings.Contains(d.Err.Error(), "endpoint a: dial") || strings.Contains(d.Err.Error(), "token") {
			t.Fatalf("verdict %v: %v", d.Verdict, d.Err)
		}
	}
}

// TestSlowEndpointCostsOneTimeout for each batch: most requests are not sent.
func TestSlowEndpointCostsOneTimeout(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	s := r.stage(asking(serving(t, nil, says(200, `{"attributes": {"a": 1}}`), sleeps)))
	began := time.Now()
	b := process(t, s, batch(t, 1000))
	if took := time.Since(began); took < 500*time.Millisecond || took > 5*time.Second { // 63 timeouts without
		t.Errorf("took %s", took)
	}
	for i := range b.Events {
		if got := became(b, i); got != "emitted a=1 status=partial reason=timeout" {
			t.Fatalf("event %d: %s", i, got)
		}
	}
	if n := r.count("unasked_total", ""); n != 1000-8 {
		t.Errorf("%g requests were not sent", n)
	}
}

// TestRequestsHaveHeaders, and lists, and secrets that change.
func TestRequestsHaveHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	var requests atomic.Int64
	var token, kind atomic.Value
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests.Add(1)
		token.Store(r.Header.Get("Authorization") + " " + r.Header.Get("X-Tenant"))
		kind.Store(r.Header.Get("Content-Type"))
		_, _ = w.Write(idOf(body))
	}
	r := newRig(t, natsserver.Options{})
	s := r.stage(asking(serving(t, func(c *config.Gather) {
		c.HTTP.Headers = []config.HTTPHeader{{Name: "Authorization", ValueFile: file}, {Name: "X-Tenant", Value: "shop"}}
		c.MaxEvents = 10
	}, handler)))
	b := process(t, s, batch(t, 25))
	for i, want := range map[int]string{0: "emitted id=0 status=complete", 24: "emitted id=24 status=complete"} {
		if got := became(b, i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n := requests.Load(); n != 3 || kind.Load() != "application/cloudevents-batch+json; charset=utf-8" || token.Load() != "first shop" {
		t.Errorf("%d requests of %v with %v", n, kind.Load(), token.Load())
	}
	write("second")
	harness.Eventually(t, 10*time.Second, func() error {
		process(t, s, batch(t, 1))
		if got := token.Load(); got != "second shop" {
			return fmt.Errorf("the headers are %v", got)
		}
		return nil
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	// Then no endpoint is at fault: the lane waits, and nobody is asked.
	harness.Eventually(t, 10*time.Second, func() error {
		if err := s.Process(t.Context(), batch(t, 1)); !stage.IsUnavailable(err) || !strings.HasPrefix(err.Error(), "ask endpoint a: header Authorization: ") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	before := requests.Load()
	if err := s.Process(t.Context(), batch(t, 1)); !stage.IsUnavailable(err) || requests.Load() != before {
		t.Errorf("got %v, and %d requests", err, requests.Load()-before)
	}
}
