package engine

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// passThrough emits everything.
type passThrough struct{}

func (passThrough) Kind() config.Kind                           { return config.KindValidate }
func (passThrough) Stateful(*config.StageConfig) bool           { return false }
func (passThrough) New(stage.Settings) (stage.Stage, error)     { return passThrough{}, nil }
func (passThrough) Start(context.Context) error                 { return nil }
func (passThrough) Process(context.Context, *stage.Batch) error { return nil }
func (passThrough) Shutdown(context.Context) error              { return nil }

// BenchmarkLane is what the engine itself costs: one frame of 500 events is decoded, goes
// through a stage that does nothing, is encoded, compressed, published to a server that
// nobody listens on, confirmed and acknowledged. One operation is one frame.
func BenchmarkLane(b *testing.B) {
	const size = 500
	e := benchEngine(b)
	l := e.lanes[0]
	data := benchFrame(size)
	header := nats.Header{"Content-Type": {event.ContentTypeFrame}, "Millrace-Events": {fmt.Sprint(size)}}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m := &message{in: e.inputs[0], seq: uint64(i + 1), subject: "in.frames", header: header, data: data, size: len(data), reply: "nobody", stored: time.Now().UnixNano()}
		m.hold(1)
		e.inputs[0].mu.Lock()
		e.inputs[0].shelf.add(m)
		e.inputs[0].mu.Unlock()
		l.gather(m)
		l.handle(b.Context(), b.Context())
		for token, o := range e.pub.open {
			delete(e.pub.open, token)
			e.pub.stored(o, false)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
	if got := e.Stats().Emitted; got != int64(b.N*size) {
		b.Fatalf("%d events were emitted, want %d", got, b.N*size)
	}
}

func benchEngine(b *testing.B) *Engine {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		b.Fatal("the NATS server did not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close(); srv.Shutdown(); srv.WaitForShutdown() })
	e, err := New(Options{Conn: nc, Factory: passThrough{}, Log: slog.New(slog.DiscardHandler), Config: &config.StageConfig{
		Pipeline: config.PipelineRef{Namespace: "default", Name: "bench"}, Stage: "validate", Partitions: 8,
		Inputs: []config.Input{{Stream: "IN", Durable: "stage"}},
		Outputs: map[string]config.Output{
			config.PortOut:        {Stream: "OUT", Subject: "out", Format: config.FormatFrame},
			config.PortDeadLetter: {Stream: "DEAD", Subject: "dead", Format: config.FormatRaw},
		},
		Batch: config.Batch{MaxEvents: 1024, MaxBytes: 1 << 20},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func benchFrame(n int) []byte {
	var lines []byte
	for i := range n {
		lines = fmt.Appendf(lines, `{"id":"0192f3c1-7d5e-7a10-9b1e-%012d","source":"/collectors/k8s","type":"k8s.pod.oom_killed","subject":"shop/checkout-7f9c","partitionkey":"k","severitynumber":17,"entity":{"kind":"Pod","namespace":"shop","name":"checkout-7f9c"},"body":"Container checkout was OOM killed"}`+"\n", i)
	}
	d := event.NewDecoder(event.Limits{})
	events, _ := d.Decode(nil, event.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: lines})
	var w event.FrameWriter
	w.Begin(event.FrameHeader{})
	for i := range events {
		w.Add(&events[i])
	}
	return w.AppendTo(nil)
}
