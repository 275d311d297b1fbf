package requests_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/engine/requests"
	"millrace.dev/millrace/workers/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connected(t *testing.T, server *natsserver.Embedded, options ...nats.Option) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(server.URL(), append(options, nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// TestRequests: each reply has the token of its request, the server says that nobody listens, and all of it is below the inbox of the worker.
func TestRequests(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	worker, other := connected(t, server, nats.CustomInboxPrefix("_INBOX_w")), connected(t, server)
	if _, err := other.Subscribe("ask", func(m *nats.Msg) {
		if !strings.HasPrefix(m.Reply, "_INBOX_w.") {
			t.Errorf("replies go to %s", m.Reply)
		}
		_ = m.Respond(m.Data)
		_ = m.Respond(nil)
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	replies := make(chan stage.Reply, 10)
	r, err := requests.On(worker).Open(func(m stage.Reply) { replies <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, ask := range [][2]string{{"ask", "1-2"}, {"nobody", "x"}} {
		if err := r.Send(ask[0], ask[1], []byte("body")); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for range 3 {
		m := <-replies
		got[m.Token+" "+string(m.Body)+map[bool]string{true: "unheard"}[m.Unheard]]++
	}
	for _, want := range []string{"1-2 body", "1-2 ", "x unheard"} {
		if got[want] != 1 {
			t.Errorf("replies %v, want %q once", got, want)
		}
	}
	if r.MaxBytes() != 1<<20 || r.Dropped() != 0 {
		t.Errorf("%d bytes at most, %d dropped", r.MaxBytes(), r.Dropped())
	}
}

// TestConnection: another connection has another number.
func TestConnection(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	worker := connected(t, server)
	r, err := requests.On(worker).Open(func(stage.Reply) {})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	before, ok := r.Connection()
	if !ok {
		t.Error("not connected")
	}
	if err := worker.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if now, ok := r.Connection(); ok && now != before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the number is that of the connection before")
		}
	}
}

// TestClose waits for the reply in hand, and none comes afterwards; also when the connection is closed already.
func TestClose(t *testing.T) {
	server := harness.RunEmbeddedNATS(t, natsserver.Options{NoJetStream: true})
	worker, other := connected(t, server), connected(t, server)
	if _, err := other.Subscribe("ask", func(m *nats.Msg) {
		for range 100 {
			_ = m.Respond([]byte("again"))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	closed, first := false, make(chan struct{})
	var once sync.Once
	r, err := requests.On(worker).Open(func(stage.Reply) {
		once.Do(func() { close(first) })
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if closed {
			t.Error("a reply came behind Close")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Send("ask", "1", nil); err != nil {
		t.Fatal(err)
	}
	<-first
	r.Close()
	mu.Lock()
	closed = true
	mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	again, err := requests.On(worker).Open(func(stage.Reply) {})
	if err != nil {
		t.Fatal(err)
	}
	worker.Close()
	again.Close()
	if err := again.Send("ask", "1", nil); err == nil {
		t.Error("a request was sent on a closed connection")
	}
}
