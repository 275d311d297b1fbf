package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// TestReplies: what becomes of an event by what its only responder says, or by what several say in this order.
func TestReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*config.Gather)
		replies []string
		want    string
	}{
		"an answer": {
			nil,
			[]string{`{"attributes": {"score": 0.5, "n": 3, "ok": true, "who": "a\u00fcb", "list": [1, {"a": 2}], "none": null, "huge": 123456789012345678901}}`},
			"emitted score=0.5 n=3 ok=true who=aüb list=[1, {\"a\": 2}] huge=123456789012345678901 status=complete",
		},
		"an empty answer":            {nil, []string{`{"attributes": {}}`}, "emitted status=complete"},
		"a prefix":                   {func(c *config.Gather) { c.Prefix = "p." }, []string{`{"attributes": {"a": 1}}`}, "emitted p.a=1 status=complete"},
		"an error for now":           {nil, []string{`{"error": {"message": "loading\n  model"}}`}, "emitted status=none reason=error"},
		"an error for good":          {nil, []string{`{"error": {"message": "no such\u0000customer", "permanent": true}}`}, "dead_lettered refused no such customer"},
		"garbage":                    {nil, []string{"\xff\x00 no JSON"}, "emitted status=none reason=malformed"},
		"nothing":                    {nil, []string{""}, "emitted status=none reason=malformed"},
		"JSON that is no reply":      {nil, []string{`{"stream": "EVENTS", "seq": 17}`}, "emitted status=none reason=malformed"},
		"a list to one event":        {nil, []string{`[{"attributes": {}}]`}, "emitted status=none reason=malformed"},
		"text behind the reply":      {nil, []string{`{"attributes": {}} x`}, "emitted status=none reason=malformed"},
		"a reply beyond the bound":   {nil, []string{`{"attributes": {"a": "` + strings.Repeat("x", maxReplyBytes) + `"}}`}, "emitted status=none reason=malformed"},
		"too many attributes":        {nil, []string{manyAttributes(maxAttributes + 1)}, "emitted status=none reason=malformed"},
		"too deep":                   {nil, []string{`{"attributes": {"a": ` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}`}, "emitted status=none reason=malformed"},
		"no reply":                   {nil, []string{}, "emitted status=none reason=timeout"},
		"an attribute that it had":   {nil, []string{`{"attributes": {"own": 2, "a": 1, "a": 3}}`}, "emitted a=3 status=complete"},
		"an error as a dead letter":  {on(config.IncompleteDeadLetter), []string{`{"error": {"message": "busy"}}`}, "dead_lettered error 0 of 1 answers: busy"},
		"no reply as a dead letter":  {on(config.IncompleteDeadLetter), []string{}, "dead_lettered timeout 0 of 1 answers: no reply within 100ms"},
		"an error, tried again":      {on(config.IncompleteRetry), []string{`{"error": {}}`}, "retried 0 of 1 answers: no reason"},
		"a quorum":                   {of(2, 0), []string{`{"attributes": {"a": 1}}`, `{"error": {}}`, `{"attributes": {"b": 2}}`}, "emitted a=1 b=2 status=complete"},
		"no quorum among max":        {of(2, 3), []string{`{"attributes": {"a": 1}}`, `{"error": {}}`, `no`}, "emitted a=1 status=partial reason=malformed"},
		"no quorum in time":          {of(2, 3), []string{`{"attributes": {"a": 1}}`}, "emitted a=1 status=partial reason=timeout"},
		"a quorum without refusals":  {of(2, 3), []string{`{"error": {"permanent": true}}`, `{"attributes": {"a": 1}}`, `{"attributes": {"b": 1}}`}, "emitted a=1 b=1 status=complete"},
		"no quorum, and a refusal":   {of(2, 3), []string{`{"error": {"message": "bad", "permanent": true}}`, `{"attributes": {"a": 1}}`, `{}`}, "dead_lettered refused bad"},
		"all that come in time":      {of(0, 9), []string{`{"attributes": {"a": 1}}`, `{"attributes": {"b": 2}}`}, "emitted a=1 b=2 status=complete"},
		"max, and one is enough":     {of(0, 2), []string{`{"error": {}}`, `{"attributes": {"b": 2}}`}, "emitted b=2 status=complete"},
		"a name that replies twice":  {of(2, 0), []string{`{"responder": "x", "attributes": {"a": 1}}`, `{"responder": "x", "attributes": {"a": 2}}`}, "emitted a=1 status=partial reason=timeout"},
		"two names":                  {of(2, 0), []string{`{"responder": "x", "attributes": {"a": 1}}`, `{"responder": "y", "attributes": {"a": 1}}`}, "emitted a=1 status=complete"},
		"a conflict, the first wins": {of(2, 2), []string{`{"attributes": {"a": 1, "b": 1}}`, `{"attributes": {"a": 2, "b": 1}}`}, "emitted a=1 b=1 status=complete conflicts=a"},
		"a conflict, the last wins": {
			func(c *config.Gather) { of(2, 2)(c); c.Merge = config.MergeLast },
			[]string{`{"attributes": {"a": 1}}`, `{"attributes": {"a": "x"}}`},
			"emitted a=x status=complete conflicts=a",
		},
		"lists": {
			func(c *config.Gather) { of(2, 2)(c); c.Merge = config.MergeList },
			[]string{`{"attributes": {"a": "x\"", "b": 1.5}}`, `{"attributes": {"a": [2]}}`},
			`emitted a=["x\"",[2]] b=[1.5] status=complete conflicts=a`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			r.respond(func(m *nats.Msg) {
				for _, text := range tc.replies {
					_ = m.Respond([]byte(text))
				}
			})
			b := process(t, r.stage(asking(tc.change)), batch(t, 1))
			if got := became(b, 0); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func manyAttributes(n int) string {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprint("a", i)] = i
	}
	text, _ := json.Marshal(map[string]any{"attributes": all})
	return string(text)
}

func on(what config.OnIncomplete) func(*config.Gather) {
	return func(c *config.Gather) { c.OnIncomplete = what }
}

func of(quorum, most int) func(*config.Gather) {
	return func(c *config.Gather) { c.Quorum, c.Max = quorum, most }
}

// TestNobodyListens: the server says so, and nobody waits.
func TestNobodyListens(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	s := r.stage(asking(func(c *config.Gather) {
		c.Timeout, c.OnIncomplete = config.Duration(10*time.Second), config.IncompleteHold
	}))
	began := time.Now()
	b := process(t, s, batch(t, 3))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("waited for %s", took)
	}
	for i := range b.Events {
		if d := b.Decision(i); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) || d.Err.Error() != "0 of 1 answers: nobody listens on ask" {
			t.Errorf("verdict %v: %v", d.Verdict, d.Err)
		}
	}
	if n := r.count("replies_total", "no_responders"); n != 3 {
		t.Errorf("counted %g", n)
	}
	if n := r.count("events_total", "none"); n != 0 {
		t.Errorf("counted %g events that are to be asked about again", n)
	}
}

// TestThousandsInFlight: all events of a batch are asked about at once; each answer finds its event, though they come in any order.
func TestThousandsInFlight(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	const n = 4096
	var mu sync.Mutex
	var waiting []*nats.Msg
	r.respond(func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if waiting = append(waiting, m); len(waiting) < n {
			return
		}
		for i := len(waiting) - 1; i >= 0; i-- {
			_ = waiting[i].Respond(idOf(waiting[i].Data))
		}
	})
	s := r.stage(asking(func(c *config.Gather) { c.NATS.MaxInFlight, c.Timeout = n, config.Duration(10*time.Second) }))
	b := process(t, s, batch(t, n))
	for i := range b.Events {
		if got, want := became(b, i), fmt.Sprintf("emitted id=%d status=complete", i); got != want {
			t.Fatalf("event %d: got %s, want %s", i, got, want)
		}
	}
	if open := r.count("requests_in_flight", ""); open != 0 {
		t.Errorf("%g requests are open", open)
	}
}

// idOf answers with the id of the event, or the ids of a list.
func idOf(request []byte) []byte {
	type cloudEvent struct{ ID string }
	answer := func(e cloudEvent) map[string]any {
		return map[string]any{"attributes": map[string]any{"id": e.ID}}
	}
	var reply any
	if request[0] == '[' {
		var list []cloudEvent
		if err := json.Unmarshal(request, &list); err != nil {
			return []byte(err.Error())
		}
		all := make([]any, 0, len(list))
		for _, e := range list {
			all = append(all, answer(e))
		}
		reply = all
	} else {
		var e cloudEvent
		if err := json.Unmarshal(request, &e); err != nil {
			return []byte(err.Error())
		}
		reply = answer(e)
	}
	text, _ := json.Marshal(reply)
	return text
}

// TestWindow: no more requests than allowed have no reply, and all are sent.
func TestWindow(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	var waiting, most atomic.Int64
	r.respond(func(m *nats.Msg) {
		most.Store(max(most.Load(), waiting.Add(1)))
		time.AfterFunc(2*time.Millisecond, func() {
			waiting.Add(-1)
			_ = m.Respond(idOf(m.Data))
		})
	})
	s := r.stage(asking(func(c *config.Gather) { c.NATS.MaxInFlight, c.Timeout = 16, config.Duration(10*time.Second) }))
	b := process(t, s, batch(t, 400))
	for i := range b.Events {
		if got, want := became(b, i), fmt.Sprintf("emitted id=%d status=complete", i); got != want {
			t.Fatalf("event %d: got %s, want %s", i, got, want)
		}
	}
	if n := most.Load(); n > 16 || n < 8 {
		t.Errorf("%d requests waited at once, want up to 16", n)
	}
}

// TestDeadResponderCostsOneTimeout for each batch, however many events it has, and whatever responders there are beside it.
func TestDeadResponderCostsOneTimeout(t *testing.T) {
	const n, timeout = 4096, time.Second
	for name, tc := range map[string]struct {
		others int
		want   string
		asked  float64
	}{
		"alone":         {0, "emitted status=none reason=timeout", 64},
		"beside others": {2, "emitted a=1 status=partial reason=timeout", n},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			r.respond(func(*nats.Msg) {})
			for range tc.others {
				r.answers(`{"attributes": {"a": 1}}`)
			}
			s := r.stage(asking(func(c *config.Gather) { c.Quorum, c.Max, c.Timeout = 3, 3, config.Duration(timeout) }))
			began := time.Now()
			b := process(t, s, batch(t, n))
			took := time.Since(began)
			for i := range b.Events {
				if got := became(b, i); got != tc.want {
					t.Fatalf("event %d: got %s, want %s", i, got, tc.want)
				}
			}
			if took < timeout || took > 10*timeout { // a slow machine; one timeout for each window would be 64
				t.Errorf("the batch took %s, want little more than %s", took, timeout)
			}
			if got := r.count("requests_total", ""); got != tc.asked {
				t.Errorf("%g requests, want %g", got, tc.asked)
			}
			if got := r.count("requests_total", "") + r.count("unasked_total", ""); got != n {
				t.Errorf("%g requests were sent or not, want %d", got, n)
			}
		})
	}
}

// TestLossyResponder: a request that gets lost costs its own event an answer, and no other one, though the batch takes longer than a timeout.
func TestLossyResponder(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	n := 0
	r.respond(func(m *nats.Msg) {
		if n++; n%40 != 0 {
			_ = m.Respond(idOf(m.Data))
		}
	})
	s := r.stage(asking(func(c *config.Gather) { c.NATS.MaxInFlight, c.Timeout = 16, config.Duration(500*time.Millisecond) }))
	b := process(t, s, batch(t, 400))
	lost := 0
	for i := range b.Events {
		switch got := became(b, i); got {
		case fmt.Sprintf("emitted id=%d status=complete", i):
		case "emitted status=none reason=timeout":
			lost++
		default:
			t.Errorf("event %d: %s", i, got)
		}
	}
	if lost != 10 {
		t.Errorf("%d events have no answer, want 10", lost)
	}
}

// TestWaitEnds with max replies and with a quorum, long before the timeout.
func TestWaitEnds(t *testing.T) {
	for name, change := range map[string]func(*config.Gather){"quorum": of(2, 0), "max": of(0, 2), "the one of both": of(2, 3)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			r.answers(`{"attributes": {"a": 1}}`)
			r.answers(`{"attributes": {"a": 1}}`)
			s := r.stage(asking(func(c *config.Gather) { change(c); c.Timeout = config.Duration(20 * time.Second) }))
			began := time.Now()
			b := process(t, s, batch(t, 3))
			if took := time.Since(began); took > 10*time.Second || became(b, 2) != "emitted a=1 status=complete" {
				t.Errorf("took %s: %s", took, became(b, 2))
			}
		})
	}
}

// TestReplyToAClosedRequest while others of its batch wait changes nothing.
func TestReplyToAClosedRequest(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	var held *nats.Msg
	r.respond(func(m *nats.Msg) {
		if held == nil {
			held = m
			return
		}
		for range 3 {
			_ = m.Respond([]byte(`{"attributes": {"a": 1}}`))
		}
		_ = held.Respond([]byte(`{"attributes": {"a": 2}}`))
	})
	b := process(t, r.stage(asking(func(c *config.Gather) { c.Timeout = config.Duration(5 * time.Second) })), batch(t, 2))
	for i, want := range []string{"emitted a=2 status=complete", "emitted a=1 status=complete"} {
		if got := became(b, i); got != want {
			t.Errorf("event %d: got %s, want %s", i, got, want)
		}
	}
	if n := r.count("replies_total", "late"); n != 2 {
		t.Errorf("%g late replies, want 2", n)
	}
}

// TestLateReplies are counted, and change nothing, also when their batch is gone.
func TestLateReplies(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		time.AfterFunc(300*time.Millisecond, func() { _ = m.Respond([]byte(`{"attributes": {"a": 1}}`)) })
	})
	s := r.stage(asking(nil))
	b := process(t, s, batch(t, 2))
	for i := range b.Events {
		if got := became(b, i); got != "emitted status=none reason=timeout" {
			t.Errorf("got %s", got)
		}
	}
	r.wantCount("replies_total", "late", 2)
	for i := range b.Events {
		if got := became(b, i); got != "emitted status=none reason=timeout" {
			t.Errorf("after the late reply: %s", got)
		}
	}
}

// TestForgedReplies to requests that there are not.
func TestForgedReplies(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		inbox := m.Reply[:strings.LastIndex(m.Reply, ".")+1]
		for _, token := range []string{"x", "-", "1-9", "1--1", "zz-0", "1-x", "99999999999999999999-0", "1-0-0"} {
			_ = r.others.Publish(inbox+token, []byte(`{"attributes": {"forged": 1}}`))
		}
		_ = m.Respond([]byte(`{"attributes": {"a": 1}}`))
	})
	if got := became(process(t, r.stage(asking(patient)), batch(t, 1)), 0); got != "emitted a=1 status=complete" {
		t.Errorf("got %s", got)
	}
	if n := r.count("replies_total", "malformed"); n != 8 {
		t.Errorf("%g replies are malformed, want 8", n)
	}
}

// TestLists: several events in a request, with a verdict on each.
func TestLists(t *testing.T) {
	lists := func(c *config.Gather) { c.MaxEvents = 3 }
	for name, tc := range map[string]struct {
		reply func(list int) string
		want  []string
	}{
		"answers": {func(n int) string {
			return "[" + strings.Join([]string{`{"attributes": {"a": 1}}`, `{"error": {"message": "no", "permanent": true}}`, `{"error": {}}`}[:n], ",") + "]"
		}, []string{"emitted a=1 status=complete", "dead_lettered refused no", "emitted status=none reason=error", "emitted a=1 status=complete"}},
		"too few answers": {
			func(int) string { return `[{"attributes": {"a": 1}}]` },
			[]string{"emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted a=1 status=complete"},
		},
		"an answer that is null": {
			func(n int) string {
				return "[" + strings.Join([]string{`{"attributes": {"a": 1}}`, `null`, `{"attributes": {}}`}[:n], ",") + "]"
			},
			[]string{"emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted a=1 status=complete"},
		},
		"one error for all": {
			func(int) string { return `{"error": {}}` },
			[]string{"emitted status=none reason=error", "emitted status=none reason=error", "emitted status=none reason=error", "emitted status=none reason=error"},
		},
		"one answer for all": {
			func(int) string { return `{"attributes": {}}` },
			[]string{"emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted status=none reason=malformed", "emitted status=none reason=malformed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			r.respond(func(m *nats.Msg) {
				var list []json.RawMessage
				if err := json.Unmarshal(m.Data, &list); err != nil {
					t.Errorf("no list: %s", m.Data)
				}
				_ = m.Respond([]byte(tc.reply(len(list))))
			})
			b := process(t, r.stage(asking(lists)), batch(t, 4))
			for i, want := range tc.want {
				if got := became(b, i); got != want {
					t.Errorf("event %d: got %s, want %s", i, got, want)
				}
			}
			if n := r.count("requests_total", ""); n != 2 {
				t.Errorf("%g requests, want 2", n)
			}
		})
	}
}

// TestMaxPayload: an event that no request can hold is a dead letter; a list that is too large is cut.
func TestMaxPayload(t *testing.T) {
	r := newRig(t, natsserver.Options{MaxPayload: 4096})
	r.respond(func(m *nats.Msg) { _ = m.Respond(idOf(m.Data)) })
	var lines strings.Builder
	for i := range 20 {
		size := 1000
		if i == 7 {
			size = 5000
		}
		fmt.Fprintf(&lines, `{"id":"%d","source":"s","type":"t","subject":"%s"}`+"\n", i, strings.Repeat("x", size))
	}
	began := time.Now()
	b := process(t, r.stage(asking(func(c *config.Gather) {
		c.MaxEvents, c.Quorum, c.Max, c.Timeout = 16, 1, 0, config.Duration(20*time.Second)
	})), batchOf(t, lines.String()))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited for %s, though all requests are answered", took)
	}
	for i := range b.Events {
		want := fmt.Sprintf("emitted id=%d status=complete", i)
		got := became(b, i)
		if i == 7 && !strings.HasPrefix(got, "dead_lettered too_large the request has 5") || i != 7 && got != want {
			t.Errorf("event %d: got %s, want %s", i, got, want)
		}
	}
}

// TestConnectionLost: a reply that gets lost with the connection blames nobody, whatever is to become of events without answers.
func TestConnectionLost(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	first := true
	r.respond(func(m *nats.Msg) {
		if first { // the connection of the worker breaks while it waits
			first = false
			return
		}
		_ = m.Respond(idOf(m.Data))
	})
	s := r.stage(asking(func(c *config.Gather) {
		c.Timeout, c.OnIncomplete = config.Duration(time.Second), config.IncompleteDeadLetter
	}))
	done := make(chan error, 1)
	s.Begin(t.Context(), batch(t, 1), func(err error) { done <- err })
	r.wantCount("requests_total", "", 1)
	if err := r.worker.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !stage.IsUnavailable(err) || !strings.Contains(err.Error(), "the connection to NATS was lost") {
		t.Errorf("got %v", err)
	}
	if got := became(process(t, s, batch(t, 1)), 0); got != "emitted id=0 status=complete" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestCallEnds: a batch is given back when its call ends, and the next ones go on.
func TestCallEnds(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(*nats.Msg) {})
	s := r.stage(asking(func(c *config.Gather) { c.Timeout, c.NATS.MaxInFlight = config.Duration(10*time.Second), 4 }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Process(ctx, batch(t, 20)); !stage.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if n := len(s.asker.targets[0].(*listeners).window); n != 0 {
			return fmt.Errorf("%d requests are in the window", n)
		}
		return nil
	})
}

// TestSlowRespondersAreAskedOn: a batch that takes longer than a call is decided about in several, and no event is asked about again that has its answer.
func TestSlowRespondersAreAskedOn(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(m *nats.Msg) {
		time.Sleep(10 * time.Millisecond)
		_ = m.Respond(idOf(m.Data))
	})
	s := r.stage(asking(func(c *config.Gather) { c.Timeout, c.NATS.MaxInFlight = config.Duration(5*time.Second), 1 }))
	const n = 60
	b := batch(t, n)
	calls := 0
	for left := b.Events; len(left) > 0; calls++ {
		b.Events = left
		b.Reset(1)
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		err := s.Process(ctx, b)
		if cancel(); err != nil {
			t.Fatal(err)
		}
		left = nil
		for i := range b.Events {
			switch d := b.Decision(i); {
			case d.Verdict == stage.Retry && stage.IsUnavailable(d.Err) && strings.HasPrefix(d.Err.Error(), "responders are slow: "):
				left = append(left, b.Events[i])
			case d.Verdict != stage.Emit:
				t.Fatalf("event %d: %s", i, became(b, i))
			}
		}
		if len(left) == len(b.Events) {
			t.Fatal("a call decided about no event")
		}
	}
	if calls < 2 {
		t.Errorf("%d calls, want several", calls)
	}
	if got := r.count("events_total", "complete"); got != n {
		t.Errorf("counted %g events, want %d", got, n)
	}
	if got := r.count("requests_total", ""); got >= n+float64(calls) {
		t.Errorf("%g requests in %d calls", got, calls)
	}
}

// TestCallHasEnded before it began, or ends as it begins: each batch comes back, and nothing is left.
func TestCallHasEnded(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(*nats.Msg) {})
	s := r.stage(asking(func(c *config.Gather) { c.Timeout, c.NATS.MaxInFlight = config.Duration(10*time.Second), 4 }))
	done := make(chan error, 1)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		s.Begin(ctx, batch(t, 2), func(err error) { done <- err })
		if err := <-done; !stage.IsUnavailable(err) {
			t.Fatalf("got %v", err)
		}
	}
	l := s.asker.targets[0].(*listeners)
	harness.Eventually(t, 10*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.rounds) > 0 || len(l.window) > 0 {
			return fmt.Errorf("%d rounds, %d requests in the window", len(l.rounds), len(l.window))
		}
		return nil
	})
	if open := r.count("requests_in_flight", ""); open != 0 {
		t.Errorf("%g requests are open", open)
	}
}

// TestInFlight: all lanes ask the same responders, and a change of timeout is none of it.
func TestInFlight(t *testing.T) {
	for _, tc := range []struct {
		timeout     time.Duration
		lanes, want int
	}{{time.Millisecond, 0, 256}, {50 * time.Millisecond, 4, 100}, {time.Second, 4, 5}, {10 * time.Second, 1, 2}, {10 * time.Second, 64, 1}} {
		if got := inFlight(tc.timeout, tc.lanes); got != tc.want {
			t.Errorf("%s in %d lanes: %d, want %d", tc.timeout, tc.lanes, got, tc.want)
		}
	}
	s := newRig(t, natsserver.Options{}).stage(asking(nil))
	next, err := s.Reload(&config.StageConfig{Stage: "s", Gather: asking(func(c *config.Gather) { c.Timeout = config.Duration(10 * time.Second) })})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := next.(stage.Async).InFlight(), s.InFlight(); got != want {
		t.Errorf("after a change of timeout: %d, want %d", got, want)
	}
}

// TestHugeReplies are not read, however many events a request has.
func TestHugeReplies(t *testing.T) {
	body := append([]byte(`[{"attributes": {}}`), strings.Repeat(`,{"attributes": {}}`, 999)...)
	body = append(body, ']')
	if said := parse(body, 1000, true); said.result != resultAnswer {
		t.Fatalf("got %v", said.all.failure)
	}
	body = append(body, strings.Repeat(" ", maxReply)...)
	if said := parse(body, 1000, true); said.result != resultMalformed || !strings.Contains(said.all.failure.err.Error(), "4194304 at most") {
		t.Errorf("got %s", said.result)
	}
}

// TestReload: what is live changes, and batches that wait end by what they began with.
func TestReload(t *testing.T) {
	r := newRig(t, natsserver.Options{})
	r.respond(func(*nats.Msg) {})
	s := r.stage(asking(func(c *config.Gather) { c.Timeout = config.Duration(300 * time.Millisecond) }))
	done := make(chan error, 1)
	old := batch(t, 1)
	s.Begin(t.Context(), old, func(err error) { done <- err })
	next, err := s.Reload(&config.StageConfig{Stage: "s", Gather: asking(func(c *config.Gather) {
		c.Timeout, c.OnIncomplete = config.Duration(10*time.Millisecond), config.IncompleteDeadLetter
	})})
	if err != nil {
		t.Fatal(err)
	}
	if got := became(process(t, next, batch(t, 1)), 0); got != "dead_lettered timeout 0 of 1 answers: no reply within 10ms" {
		t.Errorf("got %s", got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := became(old, 0); got != "emitted status=none reason=timeout" {
		t.Errorf("the one before: %s", got)
	}
	if _, err := s.Reload(&config.StageConfig{Gather: asking(func(c *config.Gather) { c.Timeout = 0 })}); err == nil {
		t.Error("a timeout of 0 is taken")
	}
}

func TestRefused(t *testing.T) {
	http := func(c *config.GatherHTTP) func(*config.Gather) {
		return func(g *config.Gather) { g.NATS, g.HTTP = nil, c }
	}
	one := config.GatherEndpoint{Name: "a", URL: "http://a/x"}
	for want, change := range map[string]func(*config.Gather){
		"gather: set one of nats, http":                    func(c *config.Gather) { c.NATS = nil },
		"gather.maxEvents: is 0":                           func(c *config.Gather) { c.MaxEvents = 0 },
		"gather.timeout: is 0s":                            func(c *config.Gather) { c.Timeout = 0 },
		"gather.quorum: is 3, must be 0 to max (2":         of(3, 2),
		`gather.onIncomplete: is "Drop"`:                   on("Drop"),
		`gather.merge: is "Any"`:                           func(c *config.Gather) { c.Merge = "Any" },
		`gather.nats.subject: has the token "*"`:           func(c *config.Gather) { c.NATS.Subject = "a.*" },
		"gather.nats.subject: begins with $ or _INBOX":     func(c *config.Gather) { c.NATS.Subject = "$JS.API.INFO" },
		"gather.nats.maxInFlight: is 0":                    func(c *config.Gather) { c.NATS.MaxInFlight = 0 },
		"gather.http.endpoints: is empty":                  http(&config.GatherHTTP{}),
		"gather.quorum: is 1, and there are":               nil,
		"gather.http.maxInFlight: is 0":                    http(&config.GatherHTTP{Endpoints: []config.GatherEndpoint{one}}),
		`gather.http.endpoints[1].name: "a" is empty, or`:  http(&config.GatherHTTP{Endpoints: []config.GatherEndpoint{one, one}, MaxInFlight: 1}),
		"gather.http.endpoints[0].url: must be a URL":      http(&config.GatherHTTP{Endpoints: []config.GatherEndpoint{{Name: "a", URL: "http://u:p@a"}}, MaxInFlight: 1}),
		"gather.http.headers[0]: needs a name, and one of": http(&config.GatherHTTP{Endpoints: []config.GatherEndpoint{one}, MaxInFlight: 1, Headers: []config.HTTPHeader{{Name: "X"}}}),
	} {
		if change == nil {
			want, change = "gather.quorum: is 2, and there are 1 endpoints", func(c *config.Gather) {
				http(&config.GatherHTTP{Endpoints: []config.GatherEndpoint{one}, MaxInFlight: 1})(c)
				c.Quorum, c.Max = 2, 0
			}
		}
		if err := check(asking(change)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{}}); err == nil {
		t.Error("a config without gather is taken")
	}
}
