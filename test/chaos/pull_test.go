package chaos

import (
	"bytes"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// TestLostPulls: a pull request that the server does not know of, for whatever reason, holds
// nothing up for longer than 2 s. The client library waits for two missed heartbeats, 30 s by
// default (TestClientStalls): the stall that was seen with small pulls at a high rate.
func TestLostPulls(t *testing.T) {
	w := begin(t, harness.BuildBinary(t, harness.BuildOptions{}))
	var losing atomic.Bool
	p, err := newProxy(t.Context(), strings.TrimPrefix(w.URL(), "nats://"), func(subject []byte) bool {
		return losing.Load() && bytes.HasPrefix(subject, []byte("$JS.API.CONSUMER.MSG.NEXT."))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(t, w) // the clients
		p.close()
	})
	for _, stage := range stages() {
		config, err := os.ReadFile(w.ConfigFile(stage))
		if err != nil {
			t.Fatal(err)
		}
		config = bytes.ReplaceAll(config, []byte(w.URL()), []byte(p.url()))
		if err := os.WriteFile(w.ConfigFile(stage), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines, err := newLoad()
	if err != nil {
		t.Fatal(err)
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		for range 3 {
			time.Sleep(1500 * time.Millisecond)
			losing.Store(true)
			for n := p.swallowed.Load(); p.swallowed.Load() == n; {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			losing.Store(false)
		}
	}()
	s := &soak{rig: w.Rig, rate: 5000, long: 10 * time.Second, load: lines}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-lost
	if s.pauses.longest > longestPause {
		t.Errorf("a partition stood still for %s, at most %s are allowed", s.pauses.longest, longestPause)
	}
	t.Logf("%d pull requests were lost; no partition stood still for longer than %s", p.swallowed.Load(), s.pauses.longest.Round(time.Millisecond))
}

// TestClientStalls shows what TestLostPulls is about, with the client library alone: one pull request
// is lost, others are not made as long as it counts, and the consumer stands still until two
// heartbeats are missed. That is 30 s with the library's defaults; here it asks for 4 s.
func TestClientStalls(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{})
	var losing atomic.Bool
	p, err := newProxy(t.Context(), strings.TrimPrefix(server.URL(), "nats://"), func(subject []byte) bool {
		return losing.Load() && bytes.HasPrefix(subject, []byte("$JS.API.CONSUMER.MSG.NEXT."))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	conn, err := nats.Connect(p.url())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	pauses := newPauses()
	running, err := consumer.Consume(func(m jetstream.Msg) {
		pauses.note(&nats.Msg{Subject: "s"})
		if p.swallowed.Load() > 0 {
			losing.Store(false)
		}
		_ = m.Ack()
	}, jetstream.PullMaxMessages(10), jetstream.PullExpiry(4*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop()
	for began := time.Now(); time.Since(began) < 7*time.Second; time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > time.Second && p.swallowed.Load() == 0 {
			losing.Store(true)
		}
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	pauses.end()
	t.Logf("%d pull requests were lost; the consumer stood still for %s", p.swallowed.Load(), pauses.longest.Round(time.Millisecond))
	if pauses.longest < longestPause {
		t.Error("the client library does not stand still any more: what the engine does about that may be simpler")
	}
}
