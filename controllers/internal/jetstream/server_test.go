package jetstream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// bench is a real server, a client under test, and an outside view of both.
type bench struct {
	server *natsserver.Embedded
	pool   *jetstream.Pool
	client *jetstream.Client
	js     natsjs.JetStream
	// requests are those to JetStream, of the client under test and of the test.
	requests *nats.Subscription
}

var owner = jetstream.Owner{UID: "uid-1", Pipeline: "shop/orders"}

var stageOwner = jetstream.Owner{UID: "uid-2", Pipeline: "shop/orders", Stage: "validate"}

func wanted() plan.Stream {
	return plan.Stream{
		Name: "RAW", Subjects: []string{"orders.raw.>"}, Replicas: 1,
		MaxAge: 24 * time.Hour, MaxBytes: 1 << 20, DuplicateWindow: 2 * time.Minute,
	}
}

func wantedConsumer() plan.Consumer {
	return plan.Consumer{
		Stream: "RAW", Durable: "validate", FilterSubject: "orders.raw.>",
		AckWait: 30 * time.Second, MaxAckPending: 256,
	}
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{server: harness.RunEmbeddedNATS(t, natsserver.Options{})}
	nc, err := b.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if b.js, err = natsjs.New(nc); err != nil {
		t.Fatal(err)
	}
	if b.requests, err = nc.SubscribeSync("$JS.API.>"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil { // the server knows it before the first request, which another connection sends
		t.Fatal(err)
	}
	b.pool = jetstream.NewPool(jetstream.PoolOptions{ConnectTimeout: time.Second, RequestTimeout: time.Second, RetryAfter: time.Millisecond})
	t.Cleanup(b.pool.Close)
	if b.client, err = b.pool.Client(jetstream.Server{URL: b.server.URL()}); err != nil {
		t.Fatal(err)
	}
	return b
}

// written returns and forgets the writing requests seen so far. The server may answer a request before it has handed
// it to those who listen, so it waits until nothing comes any more.
func (b *bench) written(t *testing.T) []string {
	t.Helper()
	var seen []string
	for {
		m, err := b.requests.NextMsg(100 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			return seen
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{".CREATE.", ".UPDATE.", ".DELETE.", ".PURGE."} {
			if strings.Contains(m.Subject, verb) {
				seen = append(seen, m.Subject)
			}
		}
	}
}

// reconcile does what the Pipeline controller does with one stream.
// bucket is how a stream is configured, without what is its own: name, subjects, metadata.
func (b *bench) bucket(t *testing.T, stream string) natsjs.StreamConfig {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Name, c.Subjects, c.Metadata = "", nil, nil
	return c
}

func (b *bench) reconcile(t *testing.T, want plan.Stream, as jetstream.Owner) jetstream.StreamChange {
	t.Helper()
	have, err := b.client.Stream(want.Name)
	if err != nil {
		have = nil
	}
	change := jetstream.CompareStream(want, as, have)
	switch change.Action {
	case jetstream.ActionCreate:
		_, err = b.client.CreateStream(change.Config)
	case jetstream.ActionUpdate:
		_, err = b.client.UpdateStream(have, change.Config)
	default:
		err = nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func (b *bench) reconcileConsumer(t *testing.T, want plan.Consumer, as jetstream.Owner) jetstream.ConsumerChange {
	t.Helper()
	have, err := b.client.Consumer(want.Stream, want.Durable)
	if err != nil {
		have = nil
	}
	change := jetstream.CompareConsumer(want, as, have)
	if change.Action == jetstream.ActionCreate || change.Action == jetstream.ActionUpdate {
		if _, err := b.client.ApplyConsumer(want.Stream, change.Config); err != nil {
			t.Fatal(err)
		}
	}
	return change
}
