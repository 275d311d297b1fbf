package collect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/collect"
)

const (
	subject = "events.raw.http"
	stream  = "RAW_EVENTS"
)

// receiver is a collector that is made of this package alone: it answers a request when the stream has
// acknowledged its event.
type receiver struct{ queue collect.Queue }

func (r receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var e eventv1.Event
	if err := protojson.Unmarshal(body, &e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(request.Context(), time.Second)
	defer cancel()
	var refused *collect.RefusedError
	switch err := r.queue.Store(ctx, []*eventv1.Event{&e}); {
	case errors.As(err, &refused):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// receive runs a receiver until the test ends. It returns its URL.
func receive(t *testing.T, js jetstream.JetStream, options ...func(*collect.Options)) (url string, stop func() error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := collect.Options{
		JetStream: js, Subject: subject, Cluster: "test", Shared: true, Log: log, Now: time.Now, Metrics: prometheus.NewRegistry(),
		DrainTimeout: 2 * time.Second,
	}
	var err error
	if o.Stream, err = collect.FindStream(t.Context(), js, subject, log); err != nil {
		t.Fatal(err)
	}
	for _, option := range options {
		option(&o)
	}
	p, err := collect.NewPublisher(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(receiver{p.Queue()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, func(ctx context.Context) {
			<-ctx.Done()
			server.Close() // waits for the requests
		})
	}()
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return server.URL, stop
}

// post returns the status of the answer; 0 = there was none.
func post(t *testing.T, url, body string) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func created(t *testing.T, limit int32) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	js := harness.JetStream(t, harness.RunEmbeddedNATS(t, natsserver.Options{}))
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"events.raw.>"}, MaxMsgSize: limit})
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func messages(t *testing.T, s jetstream.Stream) uint64 {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// A request is answered when the stream has its event; with what NATS never takes it is refused.
func TestReceiverAnswersBehindThePubAck(t *testing.T) {
	js, s := created(t, 4096)
	url, _ := receive(t, js)
	incompressible := make([]byte, 0, 8192)
	for i := range 2000 {
		incompressible = strconv.AppendInt(incompressible, int64(i*i*7919%10007), 36)
	}
	for _, tc := range []struct {
		name, body string
		status     int
		stored     uint64
	}{
		{"an event", `{"id":"a","type":"t","source":"s"}`, http.StatusOK, 1},
		{"without an id", `{"type":"t","source":"s"}`, http.StatusOK, 2},
		{"another one without an id", `{"type":"t","source":"s"}`, http.StatusOK, 3},
		{"no event", `?`, http.StatusBadRequest, 3},
		{"too large", `{"id":"b","type":"t","source":"s","body":"` + string(incompressible) + `"}`, http.StatusUnprocessableEntity, 3},
		{"the next one", `{"id":"c","type":"t","source":"s"}`, http.StatusOK, 4},
	} {
		if got := post(t, url, tc.body); got != tc.status {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.status)
		}
		if got := messages(t, s); got != tc.stored {
			t.Errorf("%s: the stream has %d messages, want %d", tc.name, got, tc.stored)
		}
	}
}

// While the stream takes nothing, nobody is told that an event is stored, and the queue is bounded.
func TestReceiverPushesBack(t *testing.T) {
	js, _ := created(t, -1)
	url, stop := receive(t, js, func(o *collect.Options) { o.Queue = 1 })
	if err := js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	statuses := make(chan int, 8)
	for i := range cap(statuses) {
		go func() { statuses <- post(t, url, `{"id":"`+strconv.Itoa(i)+`","type":"t","source":"s"}`) }()
	}
	for range cap(statuses) {
		if got := <-statuses; got != http.StatusServiceUnavailable {
			t.Errorf("got %d, want %d", got, http.StatusServiceUnavailable)
		}
	}
	if err := stop(); !errors.Is(err, collect.ErrDrain) {
		t.Errorf("got %v, want %v", err, collect.ErrDrain)
	}
}

// Replicas publish on one subject; a collector that has its subject for itself does not let them.
func TestReplicasShareASubject(t *testing.T) {
	js, s := created(t, -1)
	first, _ := receive(t, js)
	second, _ := receive(t, js)
	for i := range 10 {
		for _, url := range []string{first, second} {
			if got := post(t, url, `{"id":"`+strconv.Itoa(i)+url[strings.LastIndexByte(url, ':'):]+`","type":"t","source":"s"}`); got != http.StatusOK {
				t.Fatalf("got %d, want %d", got, http.StatusOK)
			}
		}
	}
	if got := messages(t, s); got != 20 {
		t.Errorf("the stream has %d messages, want 20", got)
	}
	alone, stop := receive(t, js, func(o *collect.Options) { o.Shared = false })
	if got := post(t, alone, `{"id":"x","type":"t","source":"s"}`); got != http.StatusServiceUnavailable {
		t.Errorf("got %d, want %d", got, http.StatusServiceUnavailable)
	}
	if err := stop(); !errors.Is(err, collect.ErrSuperseded) {
		t.Errorf("got %v, want %v", err, collect.ErrSuperseded)
	}
}

// A collector that ends stores what is on the queue first, and tells whoever waits when it cannot.
func TestEndOfTheReceiver(t *testing.T) {
	for name, tc := range map[string]struct {
		away          bool
		stored, ended error
	}{
		"the stream takes it":     {false, nil, nil},
		"the stream is not there": {true, collect.ErrEnded, collect.ErrDrain},
	} {
		t.Run(name, func(t *testing.T) {
			js, s := created(t, -1)
			log := slog.New(slog.NewTextHandler(t.Output(), nil))
			found, err := collect.FindStream(t.Context(), js, subject, log)
			if err != nil {
				t.Fatal(err)
			}
			p, err := collect.NewPublisher(collect.Options{
				JetStream: js, Stream: found, Subject: subject, Cluster: "test", DrainTimeout: time.Second,
				Log: log, Now: time.Now, Metrics: prometheus.NewRegistry(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if tc.away {
				if err := js.DeleteStream(t.Context(), stream); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			err = p.Run(ctx, func(context.Context) {
				cancel()
				if err := p.Queue().Store(t.Context(), []*eventv1.Event{{Id: "last", Type: "t", Source: "s"}}); !errors.Is(err, tc.stored) {
					t.Errorf("what waits while it drains: got %v, want %v", err, tc.stored)
				}
			})
			if !errors.Is(err, tc.ended) {
				t.Errorf("the end: got %v, want %v", err, tc.ended)
			}
			if !tc.away && messages(t, s) != 1 {
				t.Errorf("got %d messages, want 1", messages(t, s))
			}
		})
	}
}
