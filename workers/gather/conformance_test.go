package gather

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/requests"
	"millrace.dev/millrace/workers/event/cloudevent"
	"millrace.dev/millrace/workers/stage"
)

func TestConformance(t *testing.T) {
	for name, c := range map[string]*config.Gather{
		"one event": asking(func(c *config.Gather) { c.Timeout = config.Duration(10 * time.Second) }),
		"lists, of two responders": asking(func(c *config.Gather) {
			c.MaxEvents, c.Timeout, c.Quorum, c.Max, c.Merge = 7, config.Duration(10*time.Second), 2, 2, config.MergeFirst
		}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natsserver.Options{})
			for range c.Max {
				r.respond(func(m *nats.Msg) { _ = m.Respond(idOf(m.Data)) })
			}
			stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: config.StageConfig{Gather: c}, Requester: requests.On(r.worker)})
		})
	}
}

// BenchmarkProcess: one operation is one event, with a responder in the same process that answers at once.
func BenchmarkProcess(b *testing.B) {
	for name, size := range map[string]int{"one event a request": 1, "100 events a request": 100} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, natsserver.Options{})
			answer := []byte(`{"attributes": {"score": 0.5}}`)
			if size > 1 {
				list := slices.Repeat([]string{string(answer)}, size)
				answer = []byte("[" + strings.Join(list, ",") + "]")
			}
			r.respond(func(m *nats.Msg) { _ = m.Respond(answer) })
			s := r.stage(asking(func(c *config.Gather) {
				c.MaxEvents, c.NATS.MaxInFlight, c.Timeout = size, 512, config.Duration(10*time.Second)
			}))
			b.ReportAllocs()
			b.ResetTimer()
			var of *stage.Batch
			for n := 0; n < b.N; n += 4000 {
				b.StopTimer()
				of = batch(b, 4000)
				b.StartTimer()
				process(b, s, of)
			}
			b.StopTimer()
			if got, want := became(of, 0), "emitted score=0.5 status=complete"; got != want {
				b.Fatalf("got %s", got)
			}
		})
	}
}

// BenchmarkCoreRequests is what the same requests cost without the stage: bytes that are made already, in the same window.
func BenchmarkCoreRequests(b *testing.B) {
	r := newRig(b, natsserver.Options{})
	r.answers(`{"attributes": {"score": 0.5}}`)
	of := batch(b, 1)
	body, err := cloudevent.Append(nil, &of.Events[0])
	if err != nil {
		b.Fatal(err)
	}
	window := make(chan struct{}, 512)
	inbox := r.worker.NewInbox()
	if _, err := r.worker.Subscribe(inbox+".*", func(*nats.Msg) { <-window }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		window <- struct{}{}
		if err := r.worker.PublishRequest("ask", inbox+"."+strconv.Itoa(i), body); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(window) {
		window <- struct{}{}
	}
}
