package jetstream_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/workers/config/connect"
)

func TestPoolSharesAConnection(t *testing.T) {
	b := start(t)
	again, err := b.pool.Client(jetstream.Server{URL: b.server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if again != b.client {
		t.Error("a second connection was made for the same server")
	}
	harness.Eventually(t, 5*time.Second, func() error { // one that the start of the server closed may still count
		if n := b.server.Server.NumClients(); n != 2 { // the pool's and the test's own
			return fmt.Errorf("got %d connections, want 2", n)
		}
		return nil
	})
}

func TestUnreachableServerFailsFastAndWithoutSecrets(t *testing.T) {
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	told := make(chan jetstream.Notice, 10)
	pool := jetstream.NewPool(jetstream.PoolOptions{
		ConnectTimeout: time.Second, RetryAfter: time.Minute,
		Now:    func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		Notify: func(n jetstream.Notice) { told <- n },
	})
	defer pool.Close()
	server := jetstream.Server{URL: "nats://127.0.0.1:" + strconv.Itoa(port), Material: connect.Material{User: "alice", Password: "s3cret"}}
	started := time.Now()
	_, err = pool.Client(server)
	if !jetstream.IsUnreachable(err) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
	if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "alice") {
		t.Errorf("the error holds the credentials: %v", err)
	}
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("took %s", took)
	}

	s := harness.RunEmbeddedNATS(t, natsserver.Options{Port: port, User: "alice", Password: "s3cret"})
	if _, err := pool.Client(server); !jetstream.IsUnreachable(err) {
		t.Errorf("inside RetryAfter: got %v, want the first failure again", err)
	}
	later.Store(int64(time.Minute))
	var client *jetstream.Client
	harness.Eventually(t, 5*time.Second, func() (err error) { // the first call after RetryAfter does not wait for the connection
		client, err = pool.Client(server)
		return err
	})
	if n := <-told; n.Connection != client.Connection() || n.Stream != "" {
		t.Errorf("got notice %+v, want one of the whole connection", n)
	}
	if client.Server() != s.URL() {
		t.Errorf("got server %q, want %q", client.Server(), s.URL())
	}
}

func TestURLWithASecretHidesItself(t *testing.T) {
	pool := jetstream.NewPool(jetstream.PoolOptions{})
	defer pool.Close()
	for _, url := range []string{"nats://alice:s3%ret@host:4222", "nats://alice:s3cret@host:4222"} {
		_, err := pool.Client(jetstream.Server{URL: url})
		if !jetstream.IsUnreachable(err) || strings.Contains(err.Error(), "ret@") {
			t.Errorf("got %v", err)
		}
	}
}

func TestLostConnectionFailsAtOnceAndHeals(t *testing.T) {
	s := harness.StartNATS(t, natsserver.Options{})
	pool := jetstream.NewPool(jetstream.PoolOptions{RetryAfter: time.Millisecond})
	defer pool.Close()
	server := jetstream.Server{URL: s.URL()}
	if _, err := pool.Client(server); err != nil {
		t.Fatal(err)
	}
	s.Kill9()
	harness.Eventually(t, 5*time.Second, func() error {
		if _, err := pool.Client(server); jetstream.IsUnreachable(err) {
			return nil
		}
		return context.DeadlineExceeded
	})
	started := time.Now()
	if _, err := pool.Client(server); !jetstream.IsUnreachable(err) {
		t.Errorf("got %v, want an UnreachableError", err)
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("a lost connection blocked for %s", took)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := pool.Client(server)
		return err
	})
}

// TestServerThatAnswersNothing: a server that was stopped, or is cut off without a word, costs
// its callers one timeout, and then nothing.
func TestServerThatAnswersNothing(t *testing.T) {
	s := harness.StartNATS(t, natsserver.Options{})
	told := make(chan jetstream.Notice, 10)
	pool := jetstream.NewPool(jetstream.PoolOptions{
		RequestTimeout: time.Second, RetryAfter: 100 * time.Millisecond, Notify: func(n jetstream.Notice) { told <- n },
	})
	defer pool.Close()
	server := jetstream.Server{URL: s.URL()}
	client, err := pool.Client(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = syscall.Kill(s.Pid(), syscall.SIGCONT) }
	defer resume()
	harness.Eventually(t, 10*time.Second, func() error { // a busy process stops a moment after the signal
		if _, err := client.Stream("RAW"); !jetstream.IsUnreachable(err) {
			return fmt.Errorf("got %w, want an UnreachableError", err)
		}
		return nil
	})
	started := time.Now()
	for range 100 {
		if _, err := pool.Client(server); !jetstream.IsUnreachable(err) || jetstream.ConnectionOf(err) != client.Connection() {
			t.Fatalf("got %v, want an UnreachableError of the connection", err)
		}
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("a silent server blocked 100 callers for %s", took)
	}
	if n := <-told; n.Connection != client.Connection() || n.Stream != "" {
		t.Errorf("got notice %+v, want one of the whole connection", n)
	}
	resume()
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := pool.Client(server)
		return err
	})
	if n := <-told; n.Stream != "" {
		t.Errorf("got notice %+v, want one that the server is back", n)
	}
}

// TestUnansweredRequestOfAHealthyServer: when one asset has no leader, the others go on.
func TestUnansweredRequestOfAHealthyServer(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for subject, answer := range map[string]string{"$JS.far.API.INFO": `{"type":"io.nats.jetstream.api.v1.account_info_response"}`, "$JS.far.API.STREAM.INFO.MUTE": ""} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if answer != "" {
				_ = m.Respond([]byte(answer))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{RequestTimeout: 2 * time.Second, Patience: 10 * time.Second})
	defer pool.Close()
	server := jetstream.Server{URL: s.URL(), Domain: "far"}
	client, err := pool.Client(server)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Stream("MUTE"); !jetstream.IsUnreachable(err) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
	if _, err := pool.Client(server); err != nil {
		t.Errorf("the whole server was given up: %v", err)
	}
}

// TestMissingRight: what the user may not do is told as that, by its subject, and the server is not given up. With the right it works.
func TestMissingRight(t *testing.T) {
	config := func(denied string) string {
		return `accounts: {A: {jetstream: enabled, users: [{user: a, password: a, permissions: {publish: {deny: "` + denied + `"}}}]}}`
	}
	s := harness.RunEmbeddedNATS(t, natsserver.Options{Config: config("$JS.API.STREAM.CREATE.NEW")})
	pool := jetstream.NewPool(jetstream.PoolOptions{RequestTimeout: time.Second, Patience: 10 * time.Second})
	defer pool.Close()
	server := jetstream.Server{URL: s.URL(), Material: connect.Material{User: "a", Password: "a"}}
	client, err := pool.Client(server)
	if err != nil {
		t.Fatal(err)
	}
	want := api.StreamConfig{Name: "NEW", Subjects: []string{"new.>"}, Storage: api.MemoryStorage, Replicas: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1}
	_, err = client.CreateStream(want)
	if !jetstream.IsForbidden(err) || jetstream.IsUnreachable(err) || !strings.Contains(err.Error(), "may not publish on $JS.API.STREAM.CREATE.NEW") {
		t.Fatalf("got %v, want a ForbiddenError that names the subject", err)
	}
	if _, err := pool.Client(server); err != nil {
		t.Errorf("the whole server was given up: %v", err)
	}
	want.Name = "OTHER"
	if _, err := client.CreateStream(want); err != nil {
		t.Errorf("another stream: %v", err)
	}
}

func TestJetStreamSwitchedOffIsUnreachable(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	pool := jetstream.NewPool(jetstream.PoolOptions{RequestTimeout: 500 * time.Millisecond})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Stream("RAW"); !jetstream.IsUnreachable(err) {
		t.Errorf("got %v, want an UnreachableError", err)
	}
}

func TestPoolClosesIdleConnectionsAndLeaksNothing(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{})
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	pool := jetstream.NewPool(jetstream.PoolOptions{IdleTimeout: time.Second, Patience: 10 * time.Second})
	done := make(chan error)
	go func() { done <- pool.Start(ctx) }()
	if _, err := pool.Client(jetstream.Server{URL: s.URL()}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 5*time.Second, func() error {
		if n := s.Server.NumClients(); n != 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	if _, err := pool.Client(jetstream.Server{URL: s.URL()}); err != nil {
		t.Fatalf("after the eviction: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Client(jetstream.Server{URL: s.URL()}); !jetstream.IsUnreachable(err) {
		t.Errorf("a closed pool: got %v", err)
	}
	harness.Eventually(t, 5*time.Second, func() error {
		return goleak.Find(before, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.func1"))
	})
}
