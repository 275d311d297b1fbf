package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// rig is a NATS server with the streams of one stage.
type rig struct {
	t    testing.TB
	opts *server.Options
	srv  *server.Server
	nc   *nats.Conn // of the test
	js   jetstream.JetStream
}

type rigOption func(*server.Options)

func newRig(t testing.TB, options ...rigOption) *rig {
	t.Helper()
	r := &rig{t: t, opts: &server.Options{
		Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	for _, o := range options {
		o(r.opts)
	}
	r.startServer()
	var err error
	if r.nc, err = nats.Connect(r.url(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.nc.Close(); r.stopServer() })
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	r.stream("IN", "in.>", nil)
	r.stream("OUT", "out.>", nil)
	r.stream("INSIGHTS", "insights.>", nil)
	r.stream("DEAD", "dead.>", nil)
	r.consumer(nil)
	return r
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *rig) url() string { return r.urlOf("admin") }

func (r *rig) urlOf(user string) string {
	if len(r.opts.Users) == 0 {
		return fmt.Sprintf("nats://127.0.0.1:%d", r.opts.Port)
	}
	return fmt.Sprintf("nats://%s:%s@127.0.0.1:%d", user, user, r.opts.Port)
}

func (r *rig) startServer() {
	r.t.Helper()
	opts := r.opts.Clone()
	srv, err := server.NewServer(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		r.t.Fatal("the NATS server did not start")
	}
	r.srv = srv
}

func (r *rig) stopServer() {
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
}

func (r *rig) stream(name, subjects string, change func(*jetstream.StreamConfig)) {
	r.t.Helper()
	c := jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute, MaxBytes: -1, AllowDirect: true, AllowAtomicPublish: true,
	}
	if change != nil {
		change(&c)
	}
	if _, err := r.js.CreateOrUpdateStream(ctxOf(r.t), c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) consumer(change func(*jetstream.ConsumerConfig)) {
	r.t.Helper()
	c := jetstream.ConsumerConfig{
		Durable: "stage", AckPolicy: jetstream.AckAllPolicy, AckWait: 30 * time.Second, MaxAckPending: 1000, MaxDeliver: -1,
	}
	if change != nil {
		change(&c)
	}
	if _, err := r.js.CreateOrUpdateConsumer(ctxOf(r.t), "IN", c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) consumerInfo() *jetstream.ConsumerInfo {
	r.t.Helper()
	c, err := r.js.Consumer(ctxOf(r.t), "IN", "stage")
	if err != nil {
		r.t.Fatal(err)
	}
	return c.CachedInfo()
}

// ctxOf is the context of a test, also in its clean-up.
func ctxOf(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

const partitions = 4

func stageConfig() *config.StageConfig {
	return &config.StageConfig{
		APIVersion: config.APIVersion, Pipeline: config.PipelineRef{Namespace: "default", Name: "test"}, Stage: "validate",
		Kind: config.KindValidate, Validate: &config.Validate{}, Partitions: partitions, Lanes: 1,
		Inputs: []config.Input{{From: "ingress", Stream: "IN", Durable: "stage", Subject: "in.>"}},
		Outputs: map[string]config.Output{
			config.PortOut:        {Stream: "OUT", Subject: "out.validated", Format: config.FormatFrame},
			config.PortInsights:   {Stream: "INSIGHTS", Subject: "insights", Format: config.FormatCloudEvent},
			config.PortDeadLetter: {Stream: "DEAD", Subject: "dead.validate", Format: config.FormatRaw},
		},
		Batch:        config.Batch{MaxEvents: 100, MaxBytes: 64 << 10, Linger: config.Duration(2 * time.Millisecond), MaxInFlightBytes: 8 << 20},
		Retry:        config.Retry{MaxAttempts: 3, InitialBackoff: config.Duration(20 * time.Millisecond), MaxBackoff: config.Duration(time.Second)},
		DrainTimeout: config.Duration(10 * time.Second),
	}
}

// testStage is a stage made of functions; nil ones do nothing.
type testStage struct {
	process  func(context.Context, *stage.Batch) error
	flush    func(time.Time, bool, *stage.Batch) error
	start    error
	stateful bool
	mu       sync.Mutex
	shutdown int
}

func (s *testStage) Kind() config.Kind                       { return config.KindValidate }
func (s *testStage) Stateful(*config.StageConfig) bool       { return s.stateful }
func (s *testStage) New(stage.Settings) (stage.Stage, error) { return s, nil }
func (s *testStage) Start(context.Context) error             { return s.start }
func (s *testStage) Shutdown(context.Context) error {
	s.mu.Lock()
	s.shutdown++
	s.mu.Unlock()
	return nil
}

func (s *testStage) Process(ctx context.Context, b *stage.Batch) error {
	if s.process == nil {
		return nil
	}
	return s.process(ctx, b)
}

func (s *testStage) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	if s.flush == nil {
		return nil
	}
	return s.flush(now, final, b)
}

// running is an engine at work.
type running struct {
	*engine.Engine
	t    testing.TB
	nc   *nats.Conn
	stop context.CancelFunc
	done chan error
	once sync.Once
	err  error
}

func (r *rig) run(s *testStage, change func(*config.StageConfig, *engine.Options)) *running {
	r.t.Helper()
	nc, err := nats.Connect(r.urlOf("worker"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.CustomInboxPrefix("_INBOX_validate"))
	if err != nil {
		r.t.Fatal(err)
	}
	c := stageConfig()
	o := engine.Options{
		Config: c, Factory: s, Conn: nc, Log: slog.New(slog.NewTextHandler(testWriter{r.t}, nil)),
		Metrics: stats.NewMetrics(prometheus.NewRegistry()), AckTimeout: time.Second,
	}
	if change != nil {
		change(c, &o)
	}
	e, err := engine.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctxOf(r.t))
	run := &running{Engine: e, t: r.t, nc: nc, stop: cancel, done: make(chan error, 1)}
	go func() { run.done <- e.Run(ctx) }()
	r.t.Cleanup(func() { _ = run.end() })
	return run
}

// end drains the engine and returns what Run returned.
func (r *running) end() error {
	r.once.Do(func() {
		r.stop()
		select {
		case r.err = <-r.done:
		case <-time.After(30 * time.Second):
			r.err = errors.New("the engine did not end within 30s")
		}
		r.nc.Close()
	})
	return r.err
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		w.t.Logf("%s", strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// publish stores n single JSON events with ids <prefix>0, <prefix>1, ...
func (r *rig) publish(prefix string, n int) []string {
	r.t.Helper()
	var ids []string
	for i := range n {
		id := fmt.Sprintf("%s%d", prefix, i)
		ids = append(ids, id)
		r.send(nats.NewMsg("in.raw.x"), []byte(eventJSON(id)))
	}
	return ids
}

func eventJSON(id string) string {
	return fmt.Sprintf(`{"id":%q,"source":"test","type":"test.made","subject":"s-%s","body":"hello"}`, id, id)
}

// publishFrames stores frames of size events; their ids are <prefix><frame>.<position>.
func (r *rig) publishFrames(prefix string, frames, size int) []string {
	r.t.Helper()
	var ids []string
	for f := range frames {
		var lines strings.Builder
		var frameIDs []string
		for i := range size {
			id := fmt.Sprintf("%s%d.%d", prefix, f, i)
			frameIDs = append(frameIDs, id)
			lines.WriteString(eventJSON(id) + "\n")
		}
		ids = append(ids, frameIDs...)
		msg := nats.NewMsg("in.frames")
		msg.Header.Set("Content-Type", event.ContentTypeFrame)
		r.send(msg, r.frame(lines.String()))
	}
	return ids
}

// frame encodes NDJSON as a frame.
func (r *rig) frame(ndjson string) []byte {
	r.t.Helper()
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: []byte(ndjson)})
	if len(bad) > 0 {
		r.t.Fatal(bad[0].Err)
	}
	var w frame.Writer
	w.Begin(frame.Header{})
	for i := range events {
		w.Add(&events[i])
	}
	return w.AppendTo(nil)
}

func (r *rig) send(msg *nats.Msg, data []byte) {
	r.t.Helper()
	msg.Data = data
	if _, err := r.js.PublishMsg(ctxOf(r.t), msg); err != nil {
		r.t.Fatal(err)
	}
}

// stored returns all messages of a stream.
func (r *rig) stored(stream string) []jetstream.Msg {
	r.t.Helper()
	s, err := r.js.Stream(ctxOf(r.t), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	n := s.CachedInfo().State.Msgs
	if n == 0 {
		return nil
	}
	c, err := r.js.OrderedConsumer(ctxOf(r.t), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	var all []jetstream.Msg
	batch, err := c.Fetch(int(n), jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		r.t.Fatal(err)
	}
	for m := range batch.Messages() {
		all = append(all, m)
	}
	if uint64(len(all)) != n {
		r.t.Fatalf("read %d of %d messages of %s: %v", len(all), n, stream, batch.Error())
	}
	return all
}

// count returns how often each event id is stored in a stream, and the ids in order.
func (r *rig) count(stream string) (map[string]int, []string) {
	r.t.Helper()
	counts := map[string]int{}
	var order []string
	for _, m := range r.stored(stream) {
		for _, id := range idsOf(r.t, m) {
			counts[id]++
			order = append(order, id)
		}
	}
	return counts, order
}

// idsOf are the ids of the events in a message.
func idsOf(t testing.TB, m jetstream.Msg) (ids []string) {
	t.Helper()
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
	for _, b := range bad {
		t.Errorf("%s holds what is no event: %v", m.Subject(), b.Err)
	}
	for i := range events {
		ids = append(ids, strings.Clone(events[i].ID))
	}
	return ids
}

// wantOnce fails the test unless the stream holds exactly these events, each once.
func (r *rig) wantOnce(stream string, ids []string) {
	r.t.Helper()
	counts, _ := r.count(stream)
	for _, id := range ids {
		if counts[id] != 1 {
			r.t.Errorf("%s holds event %s %d times, want once", stream, id, counts[id])
		}
		delete(counts, id)
	}
	for id, n := range counts {
		r.t.Errorf("%s holds event %s %d times, want none", stream, id, n)
	}
}

// eventually waits until ok says nothing is missing.
func eventually(t testing.TB, within time.Duration, ok func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		missing := ok()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// wantDrained waits until all that is stored is acknowledged. What the server says is
// pending may be behind what it has stored.
func (r *rig) wantDrained(within time.Duration) {
	r.t.Helper()
	eventually(r.t, within, func() string {
		s, err := r.js.Stream(ctxOf(r.t), "IN")
		if err != nil {
			return err.Error()
		}
		c, err := r.js.Consumer(ctxOf(r.t), "IN", "stage")
		if err != nil {
			return err.Error()
		}
		if last, floor := s.CachedInfo().State.LastSeq, c.CachedInfo().AckFloor.Stream; floor < last {
			return fmt.Sprintf("acknowledged up to %d of %d", floor, last)
		}
		return ""
	})
}
