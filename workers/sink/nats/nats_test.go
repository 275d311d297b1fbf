package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	server "millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

func made(t *testing.T, c config.NATSSink) *Stage {
	t.Helper()
	s, err := New(stage.Settings{Config: &config.StageConfig{
		Pipeline: config.PipelineRef{Namespace: "shop", Name: "obs"}, Stage: "archive", Kind: config.KindSink, Sink: &config.Sink{NATS: &c},
		Inputs: []config.Input{{Stream: "SHOP_OBS_ENRICH"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// batch has n events of the message with this sequence.
func batch(t *testing.T, sequence uint64, n int, change func(int, *eventv1.Event)) *stage.Batch {
	t.Helper()
	var events []*eventv1.Event
	for i := range n {
		p := &eventv1.Event{Id: fmt.Sprint(sequence, "-", i), Source: "/s", Type: "t"}
		if change != nil {
			change(i, p)
		}
		events = append(events, p)
	}
	b := stagetest.Batch(t, events...)
	for i := range b.Events {
		b.Events[i].Origin.Sequence = sequence
	}
	return b
}

func process(t *testing.T, s *Stage, b *stage.Batch) {
	t.Helper()
	if err := s.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// verdicts counts them.
func verdicts(b *stage.Batch) map[stage.Verdict]int {
	all := map[stage.Verdict]int{}
	for i := range b.Events {
		all[b.Decision(i).Verdict]++
	}
	return all
}

// stored are the ids in a stream, in its order.
func stored(t *testing.T, js jetstream.JetStream) (ids []string) {
	t.Helper()
	s, err := js.Stream(t.Context(), "ARCHIVE")
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ ID string }
		if err := json.Unmarshal(m.Data, &e); err != nil || m.Header.Get("Content-Type") != event.ContentTypeCloudEvent {
			t.Fatalf("message %d is no CloudEvent: %v %v", seq, err, m.Header)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func archive(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := jetstream.StreamConfig{Name: "ARCHIVE", Subjects: []string{"archive.>"}, Discard: jetstream.DiscardNew}
	if change != nil {
		change(&c)
	}
	if _, err := js.CreateOrUpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// TestStoredOnce: events are stored in their order, and those that come again, as after a crash, are not stored a second time.
func TestStoredOnce(t *testing.T) {
	run := harness.RunEmbeddedNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, nil)
	c := config.NATSSink{URL: run.URL(), Subject: "archive.events", Stream: "ARCHIVE"}
	s := made(t, c)
	var want []string
	for seq := uint64(1); seq <= 3; seq++ {
		b := batch(t, seq, 1200, nil)
		process(t, s, b)
		if v := verdicts(b); v[stage.Keep] != 1200 {
			t.Fatalf("verdicts %v", v)
		}
		for i := range b.Events {
			want = append(want, b.Events[i].ID)
		}
	}
	process(t, made(t, c), batch(t, 3, 1200, nil)) // another worker has the lane now
	if got := stored(t, js); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("stored %d events, want %d in their order", len(got), len(want))
	}
}

func TestSubjects(t *testing.T) {
	run := harness.RunEmbeddedNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, nil)
	s := made(t, config.NATSSink{URL: run.URL(), SubjectExpression: "'archive.' + event.type"})
	types := []string{"a", "a b", "a.b", "", "*", "a..b"}
	b := batch(t, 1, len(types), func(i int, e *eventv1.Event) { e.Type = types[i] })
	process(t, s, b)
	for i, kind := range types {
		d, want := b.Decision(i), stage.Keep
		if i != 0 && i != 2 {
			want = stage.DeadLetter
		}
		if d.Verdict != want || want == stage.DeadLetter && d.Reason != "subject_error" {
			t.Errorf("type %q: got %s %s: %v", kind, d.Verdict, d.Reason, d.Err)
		}
	}
}

// TestTooLarge: what the server or the stream does not take for its size is a dead letter, and nothing else is.
func TestTooLarge(t *testing.T) {
	run := harness.RunEmbeddedNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10_000 })
	b := batch(t, 1, 4, func(i int, e *eventv1.Event) { e.Body = strings.Repeat("x", []int{1, 20_000, 2 << 20, 1}[i]) })
	process(t, made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"}), b)
	for i, want := range []stage.Verdict{stage.Keep, stage.DeadLetter, stage.DeadLetter, stage.Keep} {
		if d := b.Decision(i); d.Verdict != want || want == stage.DeadLetter && d.Reason != "too_large" {
			t.Errorf("event %d: got %s %s: %v", i, d.Verdict, d.Reason, d.Err)
		}
	}
}

// TestAway: a missing stream, a full one and a server that is not there blame no event. What is published again later is stored once and
// in order.
func TestAway(t *testing.T) {
	run := harness.RunEmbeddedNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	s := made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"})
	waits := func(b *stage.Batch, why string) {
		t.Helper()
		process(t, s, b)
		last := b.Decision(len(b.Events) - 1)
		if v := verdicts(b); v[stage.DeadLetter] > 0 || last.Verdict != stage.Retry || !stage.IsUnavailable(last.Err) || !strings.Contains(last.Err.Error(), why) {
			t.Fatalf("got %v, the last one %s: %v, want that it waits: %s", v, last.Verdict, last.Err, why)
		}
	}
	waits(batch(t, 1, 700, nil), "no stream takes what is published on archive.events")
	archive(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = 600 })
	waits(batch(t, 1, 700, nil), "maximum messages exceeded")
	archive(t, js, nil)
	b := batch(t, 1, 700, nil)
	process(t, s, b)
	if v, ids := verdicts(b), stored(t, js); v[stage.Keep] != 700 || len(ids) != 700 || ids[0] != "1-0" || ids[699] != "1-699" {
		t.Errorf("verdicts %v, %d events stored", v, len(ids))
	}
	nobody := made(t, config.NATSSink{URL: "nats://127.0.0.1:1", Subject: "archive.events"})
	if err := nobody.Process(t.Context(), batch(t, 1, 1, nil)); !stage.IsUnavailable(err) {
		t.Errorf("a server that is not there: %v", err)
	}
}

// TestOtherStream: a stream that is not the one of the settings gets nothing, and blames no event.
func TestOtherStream(t *testing.T) {
	run := harness.RunEmbeddedNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, nil)
	b := batch(t, 1, 3, nil)
	process(t, made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events", Stream: "OTHER"}), b)
	for i := range b.Events {
		if d := b.Decision(i); d.Verdict != stage.Retry || !stage.IsUnavailable(d.Err) || !strings.Contains(d.Err.Error(), "expected stream does not match") {
			t.Errorf("event %d: %s: %v", i, d.Verdict, d.Err)
		}
	}
	if ids := stored(t, js); len(ids) > 0 {
		t.Errorf("stored %v", ids)
	}
}

// TestDomain: the stream may be in the JetStream of a hub that is reached from a leaf node.
func TestDomain(t *testing.T) {
	hub, leaf := harness.RunEmbeddedLeaf(t, "hub")
	js := harness.JetStream(t, hub)
	archive(t, js, nil)
	b := batch(t, 1, 10, nil)
	process(t, made(t, config.NATSSink{URL: leaf.URL(), JetStreamDomain: "hub", Subject: "archive.events", Stream: "ARCHIVE"}), b)
	if ids := stored(t, js); len(ids) != 10 {
		t.Errorf("stored %v: %v", ids, b.Decision(0).Err)
	}
}

// TestLogin: while the server refuses the login, events wait, also on a connection that was there before; then they are stored.
func TestLogin(t *testing.T) {
	const closed = "authorization {user: somebody, password: else}"
	run := harness.RunEmbeddedNATS(t, server.Options{})
	archive(t, harness.JetStream(t, run), nil)
	s := made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"})
	process(t, s, batch(t, 1, 1, nil))
	if err := run.Reload(closed); err != nil { // which ends the connection
		t.Fatal(err)
	}
	if err := made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"}).Process(t.Context(), batch(t, 2, 1, nil)); !stage.IsUnavailable(err) {
		t.Errorf("a login that is refused: %v", err)
	}
	time.Sleep(4 * time.Second) // several logins are refused
	if err := run.Reload(""); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		b := batch(t, 3, 1, nil)
		if err := s.Process(t.Context(), b); err != nil {
			return err
		}
		if d := b.Decision(0); d.Verdict != stage.Keep {
			return d.Err
		}
		return nil
	})
}

// TestNothingIsSentLate: what was published while the server was away is published again by the lane, and by nobody else.
func TestNothingIsSentLate(t *testing.T) {
	run := harness.StartNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, nil)
	s := made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"})
	process(t, s, batch(t, 1, 1, nil))
	run.Kill9()
	harness.Eventually(t, 10*time.Second, func() error {
		if s.js.Conn().IsConnected() {
			return errors.New("still connected")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	b := batch(t, 2, 1, nil)
	if err := s.Process(ctx, b); err == nil && b.Decision(0).Verdict == stage.Keep {
		t.Fatal("kept by a server that is away")
	}
	if err := run.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error {
		if !s.js.Conn().IsConnected() {
			return errors.New("not connected again")
		}
		return s.js.Conn().FlushTimeout(time.Second)
	})
	if ids := stored(t, js); len(ids) != 1 {
		t.Errorf("stored %v, want the first alone", ids)
	}
}

// TestRestart: the server is killed, and comes back with what it had.
func TestRestart(t *testing.T) {
	run := harness.StartNATS(t, server.Options{})
	js := harness.JetStream(t, run)
	archive(t, js, nil)
	s := made(t, config.NATSSink{URL: run.URL(), Subject: "archive.events"})
	process(t, s, batch(t, 1, 100, nil))
	run.Kill9()
	back := make(chan error, 1)
	go func() {
		time.Sleep(500 * time.Millisecond)
		back <- run.Restart(context.WithoutCancel(t.Context()))
	}()
	for deadline := time.Now().Add(30 * time.Second); ; {
		b := batch(t, 2, 1000, nil)
		err := s.Process(t.Context(), b)
		if v := verdicts(b); err == nil && v[stage.Keep] == 1000 {
			break
		}
		if err != nil && !stage.IsUnavailable(err) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	if ids := stored(t, js); len(ids) != 1100 {
		t.Errorf("stored %d events, want 1100", len(ids))
	}
}
