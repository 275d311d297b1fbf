package jetstream_test

import (
	"slices"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config/connect"
)

// TestNoticesTellOfChangesByHand: whatever somebody else does to a stream or a consumer is told.
func TestNoticesTellOfChangesByHand(t *testing.T) {
	b := start(t)
	told := make(chan jetstream.Notice, 100)
	pool := jetstream.NewPool(jetstream.PoolOptions{Notify: func(n jetstream.Notice) { told <- n }})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: b.server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	b.reconcile(t, wanted(), owner)
	b.reconcileConsumer(t, wantedConsumer(), stageOwner)
	tests := []struct {
		name string
		do   func() error
		want jetstream.Notice
	}{
		{"edit the stream", func() error {
			s, err := b.js.Stream(t.Context(), "RAW")
			if err != nil {
				return err
			}
			c := s.CachedInfo().Config
			c.MaxAge = time.Hour
			_, err = b.js.UpdateStream(t.Context(), c)
			return err
		}, jetstream.Notice{Stream: "RAW"}},
		{"edit the consumer", func() error {
			c, err := b.js.Consumer(t.Context(), "RAW", "validate")
			if err != nil {
				return err
			}
			config := c.CachedInfo().Config
			config.MaxAckPending = 1
			_, err = b.js.UpdateConsumer(t.Context(), "RAW", config)
			return err
		}, jetstream.Notice{Stream: "RAW", Consumer: "validate"}},
		{
			"delete the consumer",
			func() error { return b.js.DeleteConsumer(t.Context(), "RAW", "validate") },
			jetstream.Notice{Stream: "RAW", Consumer: "validate"},
		},
		{"delete the stream", func() error { return b.js.DeleteStream(t.Context(), "RAW") }, jetstream.Notice{Stream: "RAW"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for len(told) > 0 {
				<-told
			}
			if err := test.do(); err != nil {
				t.Fatal(err)
			}
			test.want.Connection = client.Connection()
			for deadline := time.After(5 * time.Second); ; {
				select {
				case got := <-told:
					if got == test.want {
						return
					}
				case <-deadline:
					t.Fatalf("nobody told of %+v", test.want)
				}
			}
		})
	}
}

// TestNoticesNeedNoRights: a user who may not subscribe to what tells goes on without.
func TestNoticesNeedNoRights(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `accounts: {A: {jetstream: enabled, users: [
		{user: a, password: a, permissions: {publish: "$JS.API.>", subscribe: "` + plan.OperatorInbox + `.>"}}]}}`})
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: s.URL(), Material: connect.Material{User: "a", Password: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	created, err := client.CreateStream(jetstream.StreamConfig(wanted(), owner))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(created.Config.Subjects, wanted().Subjects) {
		t.Errorf("got %v", created.Config.Subjects)
	}
}
