package sinks

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
)

// archive is a stream on another server. It knows what comes again by its id (duplicate_window, 2 minutes by default).
type archive struct{ server *natsserver.Server }

func newArchive(t *testing.T) target {
	a := &archive{server: harness.StartNATS(t, natsserver.Options{})}
	c := jetstream.StreamConfig{Name: "ARCHIVE", Subjects: []string{"archive.>"}}
	if _, err := harness.JetStream(t, a.server).CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return a
}

// spec has a bad event published on a subject that cannot be.
func (a *archive) spec(*testing.T, string) *v1alpha1.SinkSpec {
	return &v1alpha1.SinkSpec{NATS: &v1alpha1.NATSSinkSpec{
		URL: a.server.URL(), Stream: "ARCHIVE", SubjectExpression: "event.subject == 'bad' ? 'archive..bad' : 'archive.' + event.subject",
	}}
}

// fault kills the server.
func (a *archive) fault(ctx context.Context, lot *rand.Rand) error {
	a.server.Kill9()
	time.Sleep(time.Duration(lot.IntN(800)) * time.Millisecond)
	return a.server.Restart(ctx)
}

func (a *archive) stored(t *testing.T) (ids []string) {
	t.Helper()
	stream, err := harness.JetStream(t, a.server).Stream(t.Context(), "ARCHIVE")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for range stream.CachedInfo().State.Msgs {
		m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, idOf(t, m.Data()))
	}
	return ids
}

func (*archive) refuses(n int) bool { return n%refusedEvery == 0 }
