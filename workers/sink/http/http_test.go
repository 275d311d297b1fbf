package http

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// receiver takes each request once, by its id, as a careful server does.
type receiver struct {
	mu       sync.Mutex
	ids      map[string]bool
	events   []string
	requests []*http.Request
	bodies   [][]byte
	// answer says what a request is answered with; 0 = it is taken.
	answer func(w http.ResponseWriter, events []string) int
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	rc.requests, rc.bodies = append(rc.requests, r), append(rc.bodies, body)
	events := idsOf(r.Header.Get("Content-Type"), body)
	status := 0
	if rc.answer != nil {
		status = rc.answer(w, events)
	}
	// An answer that is lost may have been that of a request that was taken.
	if id := r.Header.Get("Webhook-Id"); (status == 0 || status == http.StatusBadGateway) && !rc.ids[id] {
		rc.ids[id] = true
		rc.events = append(rc.events, events...)
	}
	if status != 0 {
		w.WriteHeader(status)
		fmt.Fprintf(w, "no:\n  %d", status)
	}
}

func idsOf(contentType string, body []byte) (ids []string) {
	type cloudEvent struct{ ID string }
	if strings.HasPrefix(contentType, "application/cloudevents-batch+json") {
		var all []cloudEvent
		if err := json.Unmarshal(body, &all); err != nil {
			return []string{err.Error()}
		}
		for _, e := range all {
			ids = append(ids, e.ID)
		}
		return ids
	}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		var e cloudEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return []string{err.Error()}
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func serve(t *testing.T, answer func(w http.ResponseWriter, events []string) int) (*receiver, config.HTTPSink) {
	t.Helper()
	rc := &receiver{ids: map[string]bool{}, answer: answer}
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	return rc, config.HTTPSink{URL: server.URL + "/in", Format: config.FormatBatch, MaxEvents: 4, Timeout: config.Duration(time.Second)}
}

func sink(t *testing.T, c config.HTTPSink) *Stage {
	t.Helper()
	s, err := New(stage.Settings{Now: time.Now, Config: &config.StageConfig{
		Pipeline: config.PipelineRef{Namespace: "team", Name: "orders"}, Stage: "hook", Inputs: []config.Input{{Stream: "IN"}}, Sink: &config.Sink{HTTP: &c},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.WithoutCancel(t.Context())) })
	return s
}

// batch has messages of so many events each, from sequence 1 on; ids are <sequence>.<index>.
func batch(t *testing.T, sizes ...int) *stage.Batch {
	t.Helper()
	d := decode.New(decode.Limits{})
	b := &stage.Batch{}
	for m, n := range sizes {
		var lines strings.Builder
		for i := range n {
			fmt.Fprintf(&lines, `{"id":"%d.%d","source":"s","type":"t"}`+"\n", m+1, i)
		}
		var bad []decode.Undecodable
		b.Events, bad = d.Decode(b.Events, decode.Message{Data: []byte(lines.String()), Sequence: uint64(m + 1), Header: map[string][]string{event.HeaderContentType: {"application/x-ndjson"}}})
		if len(bad) > 0 {
			t.Fatal(bad[0].Err)
		}
	}
	b.Reset(1)
	return b
}

func verdicts(b *stage.Batch) (all []string) {
	for i := range b.Events {
		all = append(all, b.Decision(i).Verdict.String())
	}
	return all
}

func process(t *testing.T, s *Stage, b *stage.Batch) {
	t.Helper()
	if err := s.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// TestRequests: what arrives, in both formats.
func TestRequests(t *testing.T) {
	for _, format := range []config.HTTPFormat{config.FormatBatch, config.FormatNDJSON} {
		t.Run(string(format), func(t *testing.T) {
			rc, c := serve(t, nil)
			c.Format = format
			b := batch(t, 6, 1, 1)
			process(t, sink(t, c), b)
			if want := []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "2.0", "3.0"}; !slices.Equal(rc.events, want) {
				t.Errorf("got %v, want %v", rc.events, want)
			}
			if len(rc.requests) != 4 {
				t.Errorf("%d requests, want 4: at most 4 events of one message each", len(rc.requests))
			}
			if got := verdicts(b); slices.ContainsFunc(got, func(v string) bool { return v != "kept" }) {
				t.Errorf("verdicts: %v", got)
			}
		})
	}
}

// TestSentAgain: whatever else is in hand then, the same events have the same id, and other events have another one.
func TestSentAgain(t *testing.T) {
	lost := true
	rc, c := serve(t, func(http.ResponseWriter, []string) int {
		if lost {
			return http.StatusBadGateway
		}
		return 0
	})
	b := batch(t, 6, 3)
	process(t, sink(t, c), b)
	for i := range b.Events {
		if d := b.Decision(i); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) || !strings.Contains(d.Err.Error(), "502 Bad Gateway: no: 502") {
			t.Fatalf("verdict %v: %v", d.Verdict, d.Err)
		}
	}
	lost = false
	process(t, sink(t, c), batch(t, 6)) // of another worker
	process(t, sink(t, c), batch(t, 6, 3, 2))
	if want := []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "2.0", "2.1", "2.2", "3.0", "3.1"}; !slices.Equal(rc.events, want) {
		t.Errorf("got %v, want %v", rc.events, want)
	}
}

// TestRefusedEvents are found, and their neighbours arrive.
func TestRefusedEvents(t *testing.T) {
	rc, c := serve(t, func(_ http.ResponseWriter, events []string) int {
		if slices.Contains(events, "1.2") {
			return http.StatusUnprocessableEntity
		}
		return 0
	})
	b := batch(t, 4, 1)
	process(t, sink(t, c), b)
	if got, want := verdicts(b), []string{"kept", "kept", "dead_lettered", "kept", "kept"}; !slices.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	if d := b.Decision(2); d.Reason != "refused" || d.Err.Error() != "the server answers 422 Unprocessable Entity: no: 422" {
		t.Errorf("reason %s: %v", d.Reason, d.Err)
	}
	if want := []string{"1.0", "1.1", "1.3", "2.0"}; !slices.Equal(rc.events, want) {
		t.Errorf("got %v, want %v", rc.events, want)
	}
}

// TestAwayInTheMiddle: after a refusal, halves are sent. When the server is away then, all is sent again as it was, so nothing is taken twice.
func TestAwayInTheMiddle(t *testing.T) {
	lost := true
	rc, c := serve(t, func(_ http.ResponseWriter, events []string) int {
		switch {
		case slices.Contains(events, "1.2"):
			return http.StatusUnprocessableEntity
		case lost && slices.Contains(events, "1.3"):
			return http.StatusBadGateway // it is taken
		}
		return 0
	})
	s, b := sink(t, c), batch(t, 4)
	process(t, s, b)
	if got, want := verdicts(b), []string{"retried", "retried", "retried", "retried"}; !slices.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	lost = false
	b = batch(t, 4)
	process(t, s, b)
	if got, want := verdicts(b), []string{"kept", "kept", "dead_lettered", "kept"}; !slices.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	if want := []string{"1.0", "1.1", "1.3"}; !slices.Equal(rc.events, want) {
		t.Errorf("got %v, want %v", rc.events, want)
	}
}

// TestAnswers: who is to blame for what.
func TestAnswers(t *testing.T) {
	for status, want := range map[int]string{
		200: "kept", 202: "kept", 204: "kept", 301: "retried", 400: "dead_lettered", 401: "retried", 402: "retried", 403: "retried", 404: "retried",
		405: "retried", 407: "retried", 408: "retried", 409: "dead_lettered", 410: "retried", 413: "dead_lettered", 415: "dead_lettered",
		418: "retried", 422: "dead_lettered", 425: "retried", 429: "retried", 500: "retried", 503: "retried",
	} {
		_, c := serve(t, func(w http.ResponseWriter, _ []string) int {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			return status
		})
		b := batch(t, 1)
		process(t, sink(t, c), b)
		if got := verdicts(b)[0]; got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
		if d := b.Decision(0); d.Verdict == stage.Retry && (!stage.IsUnavailable(d.Err) || !strings.Contains(d.Err.Error(), strconv.Itoa(status))) {
			t.Errorf("%d counts an attempt, or does not say why: %v", status, d.Err)
		}
	}
}

// TestRetryAfter: nothing is sent before the time that the server asks for.
func TestRetryAfter(t *testing.T) {
	busy := true
	rc, c := serve(t, func(w http.ResponseWriter, _ []string) int {
		if !busy {
			return 0
		}
		w.Header().Set("Retry-After", "1")
		return http.StatusTooManyRequests
	})
	s := sink(t, c)
	process(t, s, batch(t, 1))
	busy = false
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	b := batch(t, 1)
	if err := s.Process(short, b); err != nil {
		t.Fatal(err)
	}
	if d := b.Decision(0); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) || len(rc.requests) != 1 {
		t.Errorf("verdict %v, %d requests", d.Verdict, len(rc.requests))
	}
	began := time.Now()
	process(t, s, batch(t, 1))
	if took := time.Since(began); took < 500*time.Millisecond || len(rc.events) != 1 {
		t.Errorf("sent after %s: %v", took, rc.events)
	}
}

// TestClockThatIsSetBack: a server is waited for no longer than an hour, whatever happens to the clock.
func TestClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back time.Duration
		s, err := New(stage.Settings{Now: func() time.Time { return time.Now().Add(-back) }, Config: &config.StageConfig{Sink: &config.Sink{HTTP: &config.HTTPSink{}}}})
		if err != nil {
			t.Fatal(err)
		}
		s.askedToWait("600")
		back = 24 * time.Hour
		began := time.Now()
		for ended := false; !ended && time.Since(began) < 48*time.Hour; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			ended = s.wait(ctx) == nil
			cancel()
		}
		if took := time.Since(began); took > time.Hour+time.Minute {
			t.Errorf("waited for %s", took)
		}
	})
}

// TestBreaker: a server that fails is not asked for a while, and nothing is lost: the lane waits and says why.
func TestBreaker(t *testing.T) {
	down := true
	rc, c := serve(t, func(http.ResponseWriter, []string) int {
		if down {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	s, err := New(stage.Settings{Now: time.Now, Metrics: prometheus.NewRegistry(), Config: &config.StageConfig{Sink: &config.Sink{HTTP: &c}, Breaker: &config.Breaker{
		FailureRatio: 0.5, Window: config.Duration(10 * time.Second), MinCalls: 3, OpenFor: config.Duration(200 * time.Millisecond), TrialCalls: 1,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		b := batch(t, 1)
		process(t, s, b)
		if d := b.Decision(0); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) {
			t.Fatalf("verdict %v: %v", d.Verdict, d.Err)
		}
	}
	b := batch(t, 1)
	process(t, s, b)
	if d := b.Decision(0); len(rc.requests) != 3 || !strings.Contains(d.Err.Error(), "the circuit breaker of http is open") || len(s.Notes()) != 1 {
		t.Errorf("%d requests, want 3; %v; notes %v", len(rc.requests), d.Err, s.Notes())
	}
	down = false
	time.Sleep(250 * time.Millisecond)
	process(t, s, batch(t, 1, 1))
	if want := []string{"1.0", "2.0"}; !slices.Equal(rc.events, want) || len(s.Notes()) > 0 {
		t.Errorf("got %v, want %v; notes %v", rc.events, want, s.Notes())
	}
}

// TestTimeout: a server that does not answer is waited for no longer, and blames nobody.
func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	_, c := serve(t, func(http.ResponseWriter, []string) int { <-release; return 0 })
	defer close(release)
	c.Timeout = config.Duration(50 * time.Millisecond)
	b := batch(t, 1)
	process(t, sink(t, c), b)
	if d := b.Decision(0); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) {
		t.Errorf("verdict %v: %v", d.Verdict, d.Err)
	}
}

// TestSlowServer: what a slow server has taken within a call counts, and the next call goes on behind it, with the same requests.
func TestSlowServer(t *testing.T) {
	rc, c := serve(t, func(http.ResponseWriter, []string) int { time.Sleep(60 * time.Millisecond); return 0 })
	s := sink(t, c)
	sizes, calls := []int{8, 3, 2, 4, 1, 6}, 0
	var want []string
	for i := range sizes {
		for j := range sizes[i] {
			want = append(want, fmt.Sprintf("%d.%d", i+1, j))
		}
	}
	b := batch(t, sizes...)
	for left := b.Events; len(left) > 0; calls++ {
		again := &stage.Batch{Events: left}
		again.Reset(1)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := s.Process(ctx, again)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		left = nil
		for i := range again.Events {
			switch d := again.Decision(i); {
			case d.Verdict == stage.Retry && stage.IsUnavailable(d.Err) && strings.Contains(d.Err.Error(), "the server is slow: it has taken "):
				left = append(left, again.Events[i])
			case d.Verdict != stage.Keep:
				t.Fatalf("verdict %v: %v", d.Verdict, d.Err)
			}
		}
		if len(left) == len(again.Events) {
			t.Fatal("no progress")
		}
	}
	if !slices.Equal(rc.events, want) || len(rc.requests) != 8 || calls < 2 {
		t.Errorf("got %v in %d calls by %d requests, want %v by 8 requests", rc.events, calls, len(rc.requests), want)
	}
}

// TestNothingOvertakes: behind a request that fails, nothing is sent.
func TestNothingOvertakes(t *testing.T) {
	rc, c := serve(t, func(_ http.ResponseWriter, events []string) int {
		if slices.Contains(events, "2.0") {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	b := batch(t, 1, 1, 1)
	process(t, sink(t, c), b)
	if got, want := verdicts(b), []string{"kept", "retried", "retried"}; !slices.Equal(got, want) || len(rc.requests) != 2 {
		t.Errorf("verdicts %v, want %v, by %d requests", got, want, len(rc.requests))
	}
}

// TestSecrets: signature and headers, read from files each time. The signature is that of an example of Standard Webhooks.
func TestSecrets(t *testing.T) {
	if got, want := signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)),
		"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	rc, c := serve(t, nil)
	dir := t.TempDir()
	file := func(name, value string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c.URLFile, c.URL = file("url", c.URL), ""
	c.SignatureFile = file("key", "first")
	c.Headers = []config.HTTPHeader{{Name: "Authorization", ValueFile: file("token", "Bearer secret")}, {Name: "X-Tenant", Value: "shop"}}
	s := sink(t, c)
	process(t, s, batch(t, 1))
	file("key", "second")
	process(t, s, batch(t, 1))
	for i, key := range []string{"first", "second"} {
		h := rc.requests[i].Header
		if want := signature(key, h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), rc.bodies[i]); h.Get("Webhook-Signature") != want {
			t.Errorf("signature %q, want %q", h.Get("Webhook-Signature"), want)
		}
		if h.Get("Authorization") != "Bearer secret" || h.Get("X-Tenant") != "shop" || h.Get("Idempotency-Key") != `"`+h.Get("Webhook-Id")+`"` {
			t.Errorf("headers: %v", h)
		}
	}
	file("url", "::no url with a password::")
	b := batch(t, 1)
	process(t, s, b)
	if d := b.Decision(0); d.Verdict != stage.Retry || strings.Contains(d.Err.Error(), "password") {
		t.Errorf("verdict %v: %v", d.Verdict, d.Err)
	}
}

// TestSecretURL: no part of it is in an error, which goes into logs and conditions: not when the server is away, nor from what it answers.
func TestSecretURL(t *testing.T) {
	path := "/services/T0/hunter2?token=swordfish"
	answers := map[string]http.HandlerFunc{
		"redirects": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/login?token=swordfish")
			w.WriteHeader(http.StatusFound)
		},
		"redirects to no URL": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz/?token=swordfish")
			w.WriteHeader(http.StatusFound)
		},
		"repeats the path": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "cannot POST "+r.URL.RequestURI()+" or "+strings.Repeat("x", 170)+r.URL.Path+strings.Repeat("long", 100), http.StatusInternalServerError)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"is slow":  func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() },
		"is away":  nil,
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			if answer == nil {
				server.Close()
			}
			file := filepath.Join(t.TempDir(), "url")
			if err := os.WriteFile(file, []byte(server.URL+path), 0o600); err != nil {
				t.Fatal(err)
			}
			b := batch(t, 1)
			process(t, sink(t, config.HTTPSink{URLFile: file, Format: config.FormatBatch, MaxEvents: 4, Timeout: config.Duration(100 * time.Millisecond)}), b)
			d := b.Decision(0)
			if d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) {
				t.Fatalf("verdict %v: %v", d.Verdict, d.Err)
			}
			for _, secret := range []string{"services", "hunter2", "swordfish", strings.TrimPrefix(server.URL, "http://")} {
				if strings.Contains(d.Err.Error(), secret) {
					t.Errorf("%q has %q of the URL", d.Err, secret)
				}
			}
			if len(d.Err.Error()) > 400 {
				t.Errorf("an error of %d bytes: %v", len(d.Err.Error()), d.Err)
			}
		})
	}
}
