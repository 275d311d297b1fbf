package jetstream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

// TestDomainBehindALeafNode does through a leaf node all that the operator does with JetStream, and hears what others
// change on either side of it.
func TestDomainBehindALeafNode(t *testing.T) {
	hub, leaf := harness.RunEmbeddedLeaf(t, "far")
	for side, server := range map[string]*natsserver.Embedded{"leaf": leaf, "hub": hub} {
		told := make(chan jetstream.Notice, 1000)
		pool := jetstream.NewPool(jetstream.PoolOptions{Notify: func(n jetstream.Notice) { told <- n }})
		t.Cleanup(pool.Close)
		client, err := pool.Client(jetstream.Server{URL: server.URL(), Domain: "far"})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{server: server, js: harness.JetStream(t, hub), pool: pool, client: client}
		t.Run("administration from the "+side, func(t *testing.T) { administer(t, b) })
		t.Run("notices at the "+side, func(t *testing.T) {
			through, err := natsjs.NewWithDomain(harness.JetStream(t, leaf).Conn(), "far")
			if err != nil {
				t.Fatal(err)
			}
			wantNotices(t, told, client.Connection(), through)
			if side == "hub" {
				wantNotices(t, told, client.Connection(), b.js)
			}
		})
		if err := client.DeleteStream("RAW"); err != nil {
			t.Fatal(err)
		}
	}
}

// administer makes a stream, a consumer and the bucket of leases, and reads all that the operator reads.
func administer(t *testing.T, b *bench) {
	account, err := b.client.Account()
	if err != nil || account.MaxPayload == 0 {
		t.Fatalf("got %+v, %v", account, err)
	}
	if got := b.reconcile(t, wanted(), owner).Action; got != jetstream.ActionCreate {
		t.Errorf("stream: got %s, want create", got)
	}
	b.reconcileConsumer(t, wantedConsumer(), stageOwner)
	b.reconcileLeases(t, plan.Leases{Bucket: "leases", Replicas: 1})
	for range 3 {
		if _, err := b.js.Publish(t.Context(), "orders.raw.a", []byte(`{"id":"1"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := b.client.LastSequence(t.Context(), "RAW"); last != 3 || err != nil {
		t.Errorf("last sequence: got %d, %v, want 3", last, err)
	}
	consumers, err := b.client.Consumers("RAW", []string{"validate"})
	if err != nil || consumers["validate"] == nil {
		t.Fatalf("consumers: got %v, %v", consumers, err)
	}
	harness.Eventually(t, 5*time.Second, func() error { // the newest message counts a moment later
		consumer, err := b.client.Consumer("RAW", "validate")
		if err != nil {
			return err
		}
		if lag, err := b.client.Lag(t.Context(), "RAW", consumer); lag.Events != 3 || err != nil {
			return fmt.Errorf("lag: got %d, %w, want 3", lag.Events, err)
		}
		return nil
	})
	if letters, err := b.client.DeadLetters(t.Context(), "RAW", 0); len(letters) != 2 || err != nil {
		t.Errorf("first and last message: got %v, %v", letters, err)
	}
	if streams, err := b.client.StreamsOf(owner); len(streams) != 2 || err != nil {
		t.Errorf("streams: got %d, %v, want 2", len(streams), err)
	}
	if got := b.reconcile(t, wanted(), owner); got.Action != jetstream.ActionNone {
		t.Errorf("again: got %s (%s), want none", got.Action, got.Fields)
	}
}

// wantNotices changes a consumer and a stream by hand, and waits to be told of both.
func wantNotices(t *testing.T, told <-chan jetstream.Notice, connection string, js natsjs.JetStream) {
	t.Helper()
	consumer, err := js.Consumer(t.Context(), "RAW", "validate")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "RAW")
	if err != nil {
		t.Fatal(err)
	}
	for len(told) > 0 {
		<-told
	}
	edited := consumer.CachedInfo().Config
	edited.MaxAckPending++
	if _, err := js.UpdateConsumer(t.Context(), "RAW", edited); err != nil {
		t.Fatal(err)
	}
	wider := stream.CachedInfo().Config
	wider.MaxAge += time.Hour
	if _, err := js.UpdateStream(t.Context(), wider); err != nil {
		t.Fatal(err)
	}
	missing := map[jetstream.Notice]bool{
		{Connection: connection, Stream: "RAW", Consumer: "validate"}: true, {Connection: connection, Stream: "RAW"}: true,
	}
	for deadline := time.After(5 * time.Second); len(missing) > 0; {
		select {
		case n := <-told:
			delete(missing, n)
		case <-deadline:
			t.Fatalf("nobody told of %v", missing)
		}
	}
}

// TestNoJetStreamNamesTheDomain: where JetStream is in a domain, the error says so, and which one was asked.
func TestNoJetStreamNamesTheDomain(t *testing.T) {
	_, leaf := harness.RunEmbeddedLeaf(t, "far")
	for domain, want := range map[config.Domain]string{
		"":     "set spec.nats.jetStreamDomain of the Pipeline",
		"near": "no JetStream in domain near does: check spec.nats.jetStreamDomain",
		"far":  "",
	} {
		t.Run(fmt.Sprintf("domain %q", domain), func(t *testing.T) {
			pool := jetstream.NewPool(jetstream.PoolOptions{})
			defer pool.Close()
			client, err := pool.Client(jetstream.Server{URL: leaf.URL(), Domain: domain})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.StreamsOf(owner)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
