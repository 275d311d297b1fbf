package enrich_test

import (
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/enrich"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

const benchEvents = 512

// benchFrame is a frame of events such as a pipeline carries: state of pods, Kubernetes
// events, requests, flows and logs, about the pods of the snapshot.
func benchFrame(tb testing.TB) decode.Message {
	tb.Helper()
	pods := []struct{ name, uid, ip string }{
		{"checkout-6d5f-aaaaa", "pod-a-uid", "10.0.0.1"}, {"checkout-6d5f-bbbbb", "pod-b-uid", "10.0.0.2"}, {"db-0", "pod-db-uid", "10.0.0.3"},
	}
	var w frame.Writer
	w.Begin(frame.Header{})
	at := uint64(noon.UnixNano())
	for i := range benchEvents {
		pod := pods[i%len(pods)]
		m := &eventv1.Event{
			Id: fmt.Sprintf("event-%08d", i), Source: "/clusters/test/bench", TimeUnixNano: at, IngestTimeUnixNano: at, SeverityNumber: 9,
			Entity:     &eventv1.EntityRef{Kind: "Pod", Namespace: "shop", Name: pod.name, Uid: pod.uid},
			Attributes: []*eventv1.KeyValue{text("http.route", "/cart/{id}"), text("user_agent.original", "bench")},
		}
		switch i % 5 {
		case 0:
			m.Type, m.Body = "app.request", "GET /cart"
			m.TraceId, m.SpanId = []byte("0123456789abcdef"), []byte("01234567")
		case 1:
			m.Type, m.SeverityNumber, m.Body = "k8s.event", 13, "Back-off restarting failed container app in pod"
			m.Signal = &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: "BackOff", Type: "Warning"}}
		case 2:
			m.Type, m.Entity = "network.flow", nil
			m.Signal = &eventv1.Event_Network{Network: &eventv1.Network{Protocol: "tcp", SourceIp: pod.ip, DestinationIp: "10.0.0.3", BytesSent: 1000}}
		case 3:
			m.Type, m.Body = "app.log", "user logged in from 192.0.2.7 after 3 attempts, session 8d7f6"
			m.Resource = []*eventv1.KeyValue{text("service.name", "checkout")}
		case 4:
			m.Type = "metric.sample"
			m.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "process.cpu.time", Value: 12.5, Unit: "s", Kind: "gauge"}}
		}
		encoded, err := proto.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		w.AddEncoded(encoded, int64(at))
	}
	return decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeFrame}}, Data: w.AppendTo(nil)}
}

// perEvent reports what one event costs, in time and in CPU time of the process since began.
func perEvent(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/benchEvents, "cpu-ns/event")
	b.ReportAllocs()
}

// cpu is the CPU time that the process has used.
func cpu(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkProcess: what enrich costs is the difference to decode.
func BenchmarkProcess(b *testing.B) {
	block := benchFrame(b)
	run := func(process func(*stage.Batch)) func(*testing.B) {
		return func(b *testing.B) {
			decoder := decode.New(decode.Limits{})
			var batch stage.Batch
			began := cpu(b)
			for b.Loop() {
				decoder.Reset()
				batch.Events, _ = decoder.Decode(batch.Events[:0], block)
				batch.Reset(1)
				process(&batch)
			}
			if len(batch.Events) != benchEvents {
				b.Fatalf("decoded %d events", len(batch.Events))
			}
			perEvent(b, began)
		}
	}
	b.Run("decode", run(func(*stage.Batch) {}))
	for name, c := range map[string]*config.Enrich{
		"kubernetes": {Kubernetes: &config.EnrichKubernetes{}},
		"semantic":   {Semantic: &config.EnrichSemantic{}},
		"trace":      {Trace: &config.EnrichTrace{}},
		"all":        all(),
	} {
		s := start(b, c, snapshot())
		b.Run("decode+"+name, run(func(batch *stage.Batch) {
			if err := s.Process(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}))
	}
}

// BenchmarkParallel answers whether it pays to split a batch among goroutines: the same
// batch in one, and in two halves at the same time.
func BenchmarkParallel(b *testing.B) {
	block := benchFrame(b)
	s := start(b, all(), snapshot())
	for _, parts := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("goroutines=", parts), func(b *testing.B) {
			decoders := make([]*decode.Decoder, parts)
			batches := make([]stage.Batch, parts)
			for i := range decoders {
				decoders[i] = decode.New(decode.Limits{})
			}
			began := cpu(b)
			for b.Loop() {
				var done sync.WaitGroup
				for i := range parts {
					done.Go(func() {
						decoders[i].Reset()
						batches[i].Events, _ = decoders[i].Decode(batches[i].Events[:0], block)
						from, to := i*benchEvents/parts, (i+1)*benchEvents/parts
						half := stage.Batch{Events: batches[i].Events[from:to]}
						half.Reset(1)
						if err := s.Process(b.Context(), &half); err != nil {
							b.Error(err)
						}
					})
				}
				done.Wait()
			}
			perEvent(b, began)
		})
	}
}

// BenchmarkMiss is a look-up that the cache does not hold.
func BenchmarkMiss(b *testing.B) {
	block := benchFrame(b)
	c := all()
	c.Cache = config.EnrichCache{MaxEntries: 1}
	s, err := enrich.NewFactory(snapshot()).New(stage.Settings{
		Config: &config.StageConfig{Stage: "enrich", Enrich: c}, Log: slog.New(slog.DiscardHandler), Now: noon.Local, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	decoder := decode.New(decode.Limits{})
	var batch stage.Batch
	began := cpu(b)
	for b.Loop() {
		decoder.Reset()
		batch.Events, _ = decoder.Decode(batch.Events[:0], block)
		batch.Reset(1)
		if err := s.Process(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, began)
}
