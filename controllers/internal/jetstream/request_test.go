package jetstream_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jsm.go/api"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config/connect"
)

// locked is a buffer that a connection may write to meanwhile.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRequestsAreTold: each request is told with its verb and outcome, and what the server says outside of it is in the log, in the
// log's own form and without the password.
func TestRequestsAreTold(t *testing.T) {
	s := harness.RunEmbeddedNATS(t, natsserver.Options{Config: `accounts: {A: {jetstream: enabled, users: [
		{user: a, password: hidden, permissions: {publish: {deny: "$JS.API.STREAM.CREATE.DENIED"}}}]}}`})
	var told []string
	var log locked
	pool := jetstream.NewPool(jetstream.PoolOptions{
		RequestTimeout: 300 * time.Millisecond, Log: logr.FromSlogHandler(slog.NewJSONHandler(&log, nil)),
		Requested: func(verb, outcome string, took time.Duration) {
			if took < 0 || took > 10*time.Second {
				t.Errorf("%s took %s", verb, took)
			}
			told = append(told, verb+" "+outcome)
		},
	})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: s.URL(), Material: connect.Material{User: "a", Password: "hidden"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Stream("MISSING"); !errors.Is(err, jetstream.ErrNotFound) {
		t.Errorf("a stream that is not there: %v", err)
	}
	stream := api.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Storage: api.MemoryStorage, Replicas: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1}
	if _, err := client.CreateStream(stream); err != nil {
		t.Fatal(err)
	}
	stream.Name = "TWIN"
	if _, err := client.CreateStream(stream); err == nil {
		t.Error("two streams have the same subjects")
	}
	stream.Name, stream.Subjects = "DENIED", []string{"denied.>"}
	if _, err := client.CreateStream(stream); !jetstream.IsForbidden(err) {
		t.Errorf("a right that is missing: %v", err)
	}
	want := []string{"STREAM.INFO not_found", "STREAM.CREATE ok", "STREAM.INFO ok", "STREAM.CREATE refused", "STREAM.CREATE forbidden"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	text := log.String()
	if !strings.Contains(text, `"level":"ERROR","msg":"NATS reports an error"`) || !strings.Contains(text, "$JS.API.STREAM.CREATE.DENIED") {
		t.Errorf("the log does not have the missing right:\n%s", text)
	}
	if strings.Contains(text, "hidden") {
		t.Errorf("the log has the password:\n%s", text)
	}
}
