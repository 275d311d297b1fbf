package engine_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
)

// BenchmarkThroughServer moves frames of 500 events through a stage that does nothing, with
// the NATS server, its files and the engine in this process. One operation is one event;
// mallocs/event counts the server's too.
func BenchmarkThroughServer(b *testing.B) {
	for _, kind := range []string{"stateless", "stateful"} {
		b.Run(kind, func(b *testing.B) { throughServer(b, kind == "stateful", nil) })
	}
}

func throughServer(b *testing.B, stateful bool, tracer trace.Tracer) {
	const size = 500
	r := newRig(b)
	block := r.frame(benchLines(size))
	frames := (b.N + size - 1) / size
	msg := nats.NewMsg("in.frames")
	msg.Header.Set("Content-Type", event.ContentTypeFrame)
	msg.Data = block
	for range frames {
		if _, err := r.js.PublishMsgAsync(msg); err != nil {
			b.Fatal(err)
		}
		if r.js.PublishAsyncPending() > 64 {
			<-r.js.PublishAsyncComplete()
		}
	}
	<-r.js.PublishAsyncComplete()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	e := r.run(&testStage{stateful: stateful}, func(c *config.StageConfig, o *engine.Options) {
		c.Batch.MaxEvents, c.Batch.MaxBytes, o.Tracer = 1024, 1<<20, tracer
	})
	for e.Stats().In < int64(frames*size) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(frames*size)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(frames*size), "mallocs/event")
	if err := e.end(); err != nil {
		b.Fatal(err)
	}
}

func benchLines(n int) string {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, `{"id":"0192f3c1-7d5e-7a10-9b1e-%012d","source":"/collectors/k8s","type":"k8s.pod.oom_killed","subject":"shop/checkout-7f9c","partitionkey":"k","severitynumber":17,"entity":{"kind":"Pod","namespace":"shop","name":"checkout-7f9c"},"body":"Container checkout was OOM killed"}`+"\n", i)
	}
	return string(b)
}
