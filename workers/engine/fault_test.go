package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

func TestRedeliveryIsSuppressed(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("f", 20, 30)
	first := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	// What a lost acknowledgement does, for all messages at once.
	if err := r.js.DeleteConsumer(t.Context(), "IN", "stage"); err != nil {
		t.Fatal(err)
	}
	r.consumer(nil)
	second := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	if got := second.Stats().In; got != 600 {
		t.Errorf("the second worker processed %d events, want 600", got)
	}
	r.wantOnce("OUT", want)
}

func TestServerRestartLosesNothing(t *testing.T) {
	for kind, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			r.consumer(func(c *jetstream.ConsumerConfig) { c.AckWait = 3 * time.Second })
			want := r.publishFrames("f", 400, 10)
			want = append(want, r.publish("loose", 2000)...)
			s := &testStage{stateful: stateful, process: func(_ context.Context, b *stage.Batch) error {
				time.Sleep(2 * time.Millisecond)
				return nil
			}}
			e := r.run(s, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 10 })
			for _, at := range []int64{1500, 4300, 5000} { // frames, loose, loose
				eventually(t, 10*time.Second, func() string {
					if e.Stats().In < at {
						return "not yet under way"
					}
					return ""
				})
				r.stopServer()
				if in := e.Stats(); in.In == 6000 || in.InFlightMessages == 0 {
					t.Errorf("nothing was in hand when the server stopped: %+v", in)
				}
				time.Sleep(50 * time.Millisecond)
				r.startServer()
			}
			r.wantDrained(30 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", want)
		})
	}
}

func TestWorkerThatDiesLosesNothing(t *testing.T) {
	r := newRig(t)
	r.consumer(func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second })
	want := r.publishFrames("f", 300, 10)
	slow := &testStage{process: func(context.Context, *stage.Batch) error { time.Sleep(time.Millisecond); return nil }}
	first := r.run(slow, func(c *config.StageConfig, _ *engine.Options) {
		c.Batch.MaxEvents, c.DrainTimeout = 10, config.Duration(100*time.Millisecond)
	})
	eventually(t, 10*time.Second, func() string {
		if first.Stats().In < 300 {
			return "not yet under way"
		}
		return ""
	})
	first.nc.Close() // as kill -9 does: no drain, no acknowledgement
	_ = first.end()
	second := r.run(&testStage{}, nil)
	r.wantDrained(15 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	if done := second.Stats().In; done == 0 || done == 3000 {
		t.Fatalf("the second worker did %d of 3000 events: the test shows nothing", done)
	}
	r.wantOnce("OUT", want)
}

func TestFullOutputStreamPushesBack(t *testing.T) {
	r := newRig(t)
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 })
	want := r.publishFrames("f", 100, 10)
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 10 })
	eventually(t, 10*time.Second, func() string {
		if ok, text := e.Ready(); !ok || !strings.Contains(text, "output stream OUT: full") {
			return fmt.Sprintf("ready %v: %s", ok, text)
		}
		return ""
	})
	if i := r.consumerInfo(); i.NumAckPending == 0 {
		t.Error("everything was acknowledged although the output is full")
	}
	if ok, text := e.Alive(); !ok {
		t.Errorf("a full stream is no reason to die: %s", text)
	}
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	r.wantDrained(20 * time.Second)
	eventually(t, 5*time.Second, func() string {
		if _, text := e.Ready(); text != "ok" {
			return text
		}
		return ""
	})
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

func TestMissingThenRecreatedConsumer(t *testing.T) {
	r := newRig(t)
	if err := r.js.DeleteConsumer(t.Context(), "IN", "stage"); err != nil {
		t.Fatal(err)
	}
	want := r.publish("before", 20)
	e := r.run(&testStage{}, nil)
	eventually(t, 5*time.Second, func() string {
		if ok, text := e.Ready(); ok || !strings.Contains(text, "consumer IN/stage does not exist") {
			return fmt.Sprintf("ready %v: %s", ok, text)
		}
		return ""
	})
	r.consumer(nil)
	r.wantDrained(10 * time.Second)
	if ok, text := e.Ready(); !ok {
		t.Errorf("not ready although the consumer is there: %s", text)
	}
	// It goes while the worker waits for messages, and comes back behind what was processed.
	if err := r.js.DeleteConsumer(t.Context(), "IN", "stage"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if ok, _ := e.Ready(); ok {
			return "still ready"
		}
		return ""
	})
	r.consumer(func(c *jetstream.ConsumerConfig) {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 21
	})
	want = append(want, r.publish("after", 20)...)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

func TestMissingOutputStreamIsWaitedFor(t *testing.T) {
	r := newRig(t)
	if err := r.js.DeleteStream(t.Context(), "OUT"); err != nil {
		t.Fatal(err)
	}
	want := r.publishFrames("f", 5, 10)
	e := r.run(&testStage{}, nil)
	eventually(t, 5*time.Second, func() string {
		if _, text := e.Ready(); !strings.Contains(text, "stream OUT does not exist") {
			return text
		}
		return ""
	})
	r.stream("OUT", "out.>", nil)
	r.wantDrained(15 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

func TestPoisonIsDeadLetteredAlone(t *testing.T) {
	for name, c := range map[string]struct {
		fail         func() error
		reason, text string
	}{
		"panic":     {func() error { panic("kaboom") }, "panic", "panic: kaboom"},
		"permanent": {func() error { return stage.Permanent(errors.New("never")) }, "permanent_error", "never"},
		"retryable": {func() error { return errors.New("not now") }, "retries_exhausted", "after 3 attempts: not now"},
	} {
		for kind, stateful := range map[string]bool{"stateless": false, "stateful": true} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				r := newRig(t)
				want := r.publishFrames("f", 10, 20)
				s := &testStage{stateful: stateful, process: func(_ context.Context, b *stage.Batch) error {
					for i := range b.Events {
						if b.Events[i].ID == "f3.7" {
							return c.fail()
						}
					}
					return nil
				}}
				e := r.run(s, nil)
				r.wantDrained(20 * time.Second)
				if err := e.end(); err != nil {
					t.Fatal(err)
				}
				var good []string
				for _, id := range want {
					if id != "f3.7" {
						good = append(good, id)
					}
				}
				r.wantOnce("OUT", good)
				r.wantOnce("DEAD", []string{"f3.7"})
				h := r.stored("DEAD")[0].Headers()
				if h.Get("Millrace-Reason") != c.reason || !strings.HasPrefix(h.Get("Millrace-Error"), c.text) {
					t.Errorf("dead letter: got %s: %s, want %s: %s", h.Get("Millrace-Reason"), h.Get("Millrace-Error"), c.reason, c.text)
				}
				if name == "panic" && !strings.Contains(h.Get("Millrace-Error"), "fault_test.go") {
					t.Errorf("the error text does not say where it panicked: %s", h.Get("Millrace-Error"))
				}
				if n := len(h.Get("Millrace-Error")); n > 1024 {
					t.Errorf("the error text has %d bytes, more than 1024", n)
				}
			})
		}
	}
}

func TestRetryThenSuccess(t *testing.T) {
	for kind, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			want := r.publishFrames("f", 5, 20)
			var mu sync.Mutex
			tries, others := map[string]int{}, 0
			s := &testStage{stateful: stateful, process: func(_ context.Context, b *stage.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				for i := range b.Events {
					id := strings.Clone(b.Events[i].ID)
					if tries[id]++; strings.HasSuffix(id, ".5") && tries[id] < 3 {
						if b.Attempt != tries[id] {
							t.Errorf("attempt %d, want %d", b.Attempt, tries[id])
						}
						b.Retry(i, errors.New("not yet"))
					} else if tries[id] > 1 && !strings.HasSuffix(id, ".5") {
						others++
					}
				}
				return nil
			}}
			e := r.run(s, nil)
			r.wantDrained(20 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", want)
			if others > 0 {
				t.Errorf("%d events were processed again that nobody asked for", others)
			}
			if got := e.Stats(); got.In != 100 || got.Emitted != 100 || got.Retried != 10 {
				t.Errorf("stats: %+v", got)
			}
		})
	}
}

func TestRetryKeepsStreamOrderOfStatefulStage(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("f", 4, 10)
	failed := false
	s := &testStage{stateful: true, process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if b.Events[i].ID == "f1.3" && !failed {
				failed = true
				b.Retry(i, errors.New("once"))
			}
		}
		return nil
	}}
	e := r.run(s, func(c *config.StageConfig, _ *engine.Options) { c.Partitions = 1 })
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	_, order := r.count("OUT")
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order of the output (-want +got):\n%s", diff)
	}
}

func TestHugeEvents(t *testing.T) {
	r := newRig(t)
	// Larger than what may be in flight, and together larger than one frame can be.
	big := func(id string, n int) string {
		return fmt.Sprintf(`{"id":%q,"source":"test","type":"test.big","body":%q}`, id, randomText(n))
	}
	ids := []string{"big1", "big2", "big3"}
	for _, id := range ids {
		r.send(nats.NewMsg("in.raw.x"), []byte(big(id, 900_000)))
	}
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) {
		c.Batch.MaxInFlightBytes, c.Batch.MaxBytes, c.Partitions = 100_000, 64<<20, 1
	})
	ids = append(ids, r.publish("small", 20)...)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", ids)
}

func TestEventLargerThanMaxPayloadIsDeadLettered(t *testing.T) {
	r := newRig(t)
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if b.Events[i].ID == "grows" {
				b.Events[i].AddResource("k", randomText(1_100_000))
			}
		}
		return nil
	}}
	r.publish("ok", 10)
	r.send(nats.NewMsg("in.raw.x"), []byte(eventJSON("grows")))
	e := r.run(s, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("DEAD", []string{"grows"})
	if got := r.stored("DEAD")[0].Headers().Get("Millrace-Reason"); got != "too_large" {
		t.Errorf("reason: got %s, want too_large", got)
	}
	if got := e.Stats(); got.In != 11 || got.Emitted != 10 || got.Out != 10 || got.DeadLettered != 1 {
		t.Errorf("stats: %+v", got)
	}
}

func TestDeadLetterThatIsTooLargeIsCut(t *testing.T) {
	r := newRig(t)
	garbage := "x" + randomText(1<<20-200)
	r.send(nats.NewMsg("in.raw.x"), []byte(garbage))
	e := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	m := r.stored("DEAD")[0]
	if m.Headers().Get("Millrace-Truncated") != "true" || m.Headers().Get("Millrace-Size") != fmt.Sprint(len(garbage)) {
		t.Errorf("headers %v", m.Headers())
	}
	if !strings.HasPrefix(garbage, string(m.Data())) || len(m.Data()) < 1_000_000 {
		t.Errorf("the dead letter holds %d bytes that do not begin what was received", len(m.Data()))
	}
}

// randomText returns n bytes that do not compress well.
func randomText(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = letters[x>>58]
	}
	return string(b)
}

// A stage that is slower than AckWait gets each message once all the same.
func TestSlowStageKeepsItsMessages(t *testing.T) {
	r := newRig(t)
	r.consumer(func(c *jetstream.ConsumerConfig) { c.AckWait = 500 * time.Millisecond })
	want := r.publishFrames("f", 6, 10)
	var calls atomic.Int32
	s := &testStage{stateful: true, process: func(ctx context.Context, b *stage.Batch) error {
		calls.Add(1)
		select {
		case <-time.After(700 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil
	}}
	e := r.run(s, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 10 })
	r.wantDrained(30 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if got := calls.Load(); got != 6 {
		t.Errorf("the stage was called %d times, want 6", got)
	}
	r.wantOnce("OUT", want)
}

func TestInFlightBytesAreBounded(t *testing.T) {
	const budget = 1 << 20 // the least there is
	r := newRig(t)
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	text := randomText(5000)
	for i := range 200 {
		r.send(nats.NewMsg("in.raw.x"), []byte(fmt.Sprintf(`{"id":"b%d","source":"s","type":"t","body":%q}`, i, text)))
	}
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) {
		c.Batch.MaxInFlightBytes, c.Batch.MaxEvents = budget, 1
	})
	most := 0
	for range 100 {
		s := e.Stats()
		most = max(most, s.InFlightBytes)
		time.Sleep(10 * time.Millisecond)
	}
	// The first request is made for one message of any size: max_payload.
	if limit := 1<<20 + 64<<10; most > limit || most < budget/2 {
		t.Errorf("%d bytes in hand at most, want between %d and %d", most, budget/2, limit)
	}
	r.stream("OUT", "out.>", nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
}

func TestTwoInputs(t *testing.T) {
	r := newRig(t)
	r.stream("IN2", "in2.>", nil)
	if _, err := r.js.CreateConsumer(t.Context(), "IN2", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckAllPolicy}); err != nil {
		t.Fatal(err)
	}
	want := r.publish("a", 50)
	for i := range 50 { // the same sequences as in the other stream
		id := fmt.Sprintf("b%d", i)
		r.send(nats.NewMsg("in2.x"), []byte(eventJSON(id)))
		want = append(want, id)
	}
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) {
		c.Inputs = append(c.Inputs, config.Input{From: "other/out", Stream: "IN2", Durable: "stage", Subject: "in2.>"})
	})
	eventually(t, 10*time.Second, func() string { return cmp.Diff(int64(100), e.Stats().In) })
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

func TestConsumerThatDoesNotWaitForAcknowledgements(t *testing.T) {
	r := newRig(t)
	if err := r.js.DeleteConsumer(t.Context(), "IN", "stage"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.CreateConsumer(t.Context(), "IN", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	r.publish("e", 5)
	e := r.run(&testStage{}, nil)
	eventually(t, 5*time.Second, func() string {
		if ok, text := e.Ready(); ok || !strings.Contains(text, "acknowledgement policy all") {
			return text
		}
		return ""
	})
	if n := len(r.stored("OUT")); n != 0 {
		t.Errorf("%d messages were processed without a way to acknowledge them", n)
	}
}

// TestLargeHeaders: headers of the sender that the server takes, but not together with those that are
// added, stop nothing.
func TestLargeHeaders(t *testing.T) {
	const most = 65_400 // the server takes 64 KiB of headers
	for name, c := range map[string]struct {
		header, body string
		dead         bool
	}{
		"no event": {header: strings.Repeat("x", most), body: "this is no event", dead: true},
		"an event": {header: strings.Repeat("x", most), body: eventJSON("big")},
		// As large as the server takes it, to within 100 bytes.
		"and a large body": {header: strings.Repeat("x", 60_000), body: fmt.Sprintf(`{"id":"big","source":"test","type":"t","body":%q}`, randomText(1<<20-60_250))},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			m := nats.NewMsg("in.raw.x")
			m.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			m.Header.Set("tracestate", "a="+c.header)
			r.send(m, []byte(c.body))
			e := r.run(&testStage{}, nil)
			r.wantDrained(10 * time.Second)
			want := r.publish("after", 3)
			r.wantDrained(10 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			if !c.dead {
				want = append(want, "big")
				r.wantOnce("OUT", want)
				return
			}
			r.wantOnce("OUT", want)
			dead := r.stored("DEAD")
			if len(dead) != 1 || string(dead[0].Data()) != c.body {
				t.Fatalf("%d dead letters, want the message", len(dead))
			}
			h := dead[0].Headers()
			if h.Get("tracestate") != "" || h.Get("traceparent") == "" || h.Get("Millrace-Truncated") != "true" {
				t.Errorf("got %v, want all headers but the large one, and that they were cut", h)
			}
		})
	}
}
