package view

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/frame"
)

var traced = flag.Int("traced", 1_000_000, "how many events are stored for BenchmarkTrace")

// perFrame is how many events a collector that batches sends in a message.
const perFrame = 2000

// What an event is, by its number.
const (
	timed     = 0 // a UUID of version 7, whose time is that at which it is published
	random    = 1 // an id without time or order, as of version 4
	filtered  = 2 // the stage clean drops it
	refused   = 3 // a dead letter
	twice     = 4 // has the id of an event twiceWith before, as when it is sent again
	kinds     = 100
	twiceWith = 25 * perFrame
)

// idOf names the events: most of them by a counter.
func idOf(n int, at time.Time) string {
	var b [16]byte
	switch n % kinds {
	case timed:
		binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
		binary.BigEndian.PutUint64(b[8:], uint64(n))
		b[6], b[8] = 0x70|b[6]&0xf, 0x80|b[8]&0x3f
	case random, filtered, refused, twice:
		if n%kinds == twice && n/twiceWith%2 == 1 {
			n -= twiceWith
		}
		sum := sha256.Sum256(fmt.Append(nil, n))
		copy(b[:], sum[:])
		b[6], b[8] = 0x40|b[6]&0xf, 0x80|b[8]&0x3f
	default:
		return fmt.Sprintf("order-%d", n)
	}
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func typeOf(n int) string {
	switch n % kinds {
	case filtered:
		return "debug"
	case refused:
		return "order.refused"
	}
	return "order.placed"
}

// fill publishes -traced events, and returns when each frame was published.
func fill(b *testing.B, p *pipeline) (times []time.Time) {
	nc, err := nats.Connect("", nats.InProcessServer(p))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	var w frame.Writer
	for n := 0; n < *traced; n += perFrame {
		at := time.Now()
		w.Begin(frame.Header{})
		for k := range perFrame {
			e, err := event.FromProto(&eventv1.Event{
				Id: idOf(n+k, at), Source: "/shop", Type: typeOf(n + k), Subject: fmt.Sprintf("cart-%d", rand.IntN(10000)), TimeUnixNano: uint64(at.UnixNano()),
				Body: fmt.Sprintf("order %d of customer %x", n+k, rand.Uint64()),
			}, event.Origin{})
			if err != nil {
				b.Fatal(err)
			}
			w.Add(&e)
		}
		times = append(times, at)
		m := &nats.Msg{Subject: "events.raw.bench", Data: w.AppendTo(nil), Header: nats.Header{event.HeaderContentType: {event.ContentTypeFrame}}}
		if _, err := nc.RequestMsg(m, time.Minute); err != nil {
			b.Fatal(err)
		}
		if n%(50*perFrame) == 0 {
			if err := p.Settle(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("stored %d events", *traced)
	return times
}

// BenchmarkTrace follows an event through the stages behind the ingress, in streams of -traced events each.
func BenchmarkTrace(b *testing.B) {
	skip := []string{"alert"}
	if *traced > 1_000_000 {
		skip = append(skip, "left", "right", "both") // to store takes longer than to look
	}
	p := start(b, skip...)
	times := fill(b, p)
	some := func(kind int) int { return rand.IntN(*traced/kinds)*kinds + kind }
	id := func(n int) view.TraceOptions {
		return view.TraceOptions{ID: idOf(n, times[n/perFrame]), Patience: view.Seconds(time.Minute)}
	}
	for _, c := range []struct {
		name, want string // what a stage decided
		options    func() view.TraceOptions
	}{
		{"time-in-the-id", "clean emitted out", func() view.TraceOptions { return id(some(timed)) }},
		{"around", "clean emitted out", func() view.TraceOptions {
			n := some(random)
			o, at := id(n), times[n/perFrame]
			o.Since, o.Until = at.Add(-time.Second), at.Add(2*time.Second)
			return o
		}},
		{"counter", "clean emitted out", func() view.TraceOptions { return id(some(50)) }},
		{"newest", "clean emitted out", func() view.TraceOptions { return id(*traced - kinds + random) }},
		{"anywhere", "clean emitted out", func() view.TraceOptions { return id(some(random)) }},
		{"oldest", "clean emitted out", func() view.TraceOptions { return id(random) }},
		{"oldest-filtered", "clean filtered", func() view.TraceOptions { return id(filtered) }},
		{"oldest-dead", "check dead-lettered dead-letter", func() view.TraceOptions { return id(refused) }},
		{"duplicate", "check deduplicated", func() view.TraceOptions { return id(twiceWith + twice) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			read, began := 0, cpu(b)
			for b.Loop() {
				o := c.options()
				trace, err := p.view.Trace(b.Context(), shop, o)
				if err != nil {
					b.Fatal(o, err)
				}
				if all := decisions(trace); !slices.Contains(all, c.want) {
					b.Fatalf("%+v: %v, want %s", o, all, c.want)
				}
				read += trace.Read
			}
			b.ReportMetric(float64(read)/float64(b.N), "messages/op")
			b.ReportMetric(float64((cpu(b)-began).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpu is what the process has used, the embedded server included.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
