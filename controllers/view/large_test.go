package view

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/workers/config"
)

// large is a pipeline of n stages in a row with 8 partitions, on a real server, with events that wait everywhere.
func large(t testing.TB, n int) (*Layout, *natsserver.Server, natsjs.JetStream) {
	t.Helper()
	server := harness.StartNATS(t, natsserver.Options{})
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	const partitions = 8
	l := &Layout{
		Name: Name{"default", "large"}, Partitions: partitions, DeadLetters: "DEAD", Leases: plan.Leases{Bucket: "large"},
		Ingress: PortLayout{Port: PortIngress, Stream: "S0", Subject: ">", Base: "s0", Partitions: partitions},
	}
	from := PortIngress
	for i := range n + 1 {
		stream := fmt.Sprintf("S%d", i)
		if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: stream, Subjects: []string{fmt.Sprintf("s%d.>", i)}, Storage: natsjs.MemoryStorage, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
		l.Streams = append(l.Streams, stream)
		if i == n {
			break
		}
		name := fmt.Sprintf("stage-%d", i)
		in := InputLayout{From: from, Stream: stream}
		for lane := range partitions {
			c := ConsumerLayout{Durable: fmt.Sprintf("c%d-%d", i, lane), Filter: fmt.Sprintf("s%d.%d", i, lane)}
			in.Consumers = append(in.Consumers, c)
			if _, err := js.CreateConsumer(t.Context(), stream, natsjs.ConsumerConfig{Durable: c.Durable, FilterSubject: c.Filter, AckPolicy: natsjs.AckAllPolicy}); err != nil {
				t.Fatal(err)
			}
		}
		base := fmt.Sprintf("s%d", i+1)
		l.Stages = append(l.Stages, StageLayout{Name: name, Kind: config.KindEnrich, Lanes: partitions, Inputs: []InputLayout{in}})
		l.Ports = append(l.Ports,
			PortLayout{Stage: name, Port: config.PortOut, Stream: fmt.Sprintf("S%d", i+1), Subject: base + ".*", Base: base, Format: config.FormatFrame, Partitions: partitions},
			PortLayout{Stage: name, Port: config.PortDeadLetter, Stream: "DEAD", Subject: "dead." + name + ".*", Base: "dead." + name, Format: config.FormatRaw})
		from = name + "/" + config.PortOut
	}
	if _, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "DEAD", Subjects: []string{"dead.>"}, Storage: natsjs.MemoryStorage, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	l.Streams = append(l.Streams, "DEAD")
	return l, server, js
}

// fill stores a message of 20 KiB in each partition of each stream, made of one of the stream before, and a dead letter of each lane.
func fill(t testing.TB, l *Layout, js natsjs.JetStream, sequence int) {
	t.Helper()
	body := make([]byte, 20<<10)
	for i := range l.Stages {
		for lane := range l.Partitions {
			m := message(fmt.Sprintf("s%d.%d", i+1, lane), body, 200)
			m.Header.Set(headerPosition, fmt.Sprintf("%s@x:%d.0.0", l.Stages[i].Inputs[0].From, sequence))
			if _, err := js.PublishMsgAsync(m); err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishMsgAsync(message(fmt.Sprintf("dead.%s.%d", l.Stages[i].Name, lane), body[:100], 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for lane := range l.Partitions {
		if _, err := js.PublishMsgAsync(message(fmt.Sprintf("s0.%d", lane), body, 200)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

// TestReadingOfLargePipeline bounds the requests of a reading: of 64 stages with 8 partitions, all of which are busy and behind.
func TestReadingOfLargePipeline(t *testing.T) {
	l, server, js := large(t, 64)
	var requests atomic.Int64
	pool := jetstream.NewPool(jetstream.PoolOptions{Patience: 10 * time.Second, RequestTimeout: 10 * time.Second, Requested: func(string, string, time.Duration) { requests.Add(1) }})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	p, s := newProbe(), &subject{layout: l, client: client}
	now := time.Now()
	for i := range 3 {
		fill(t, l, js, 8*i+1)
		requests.Store(0)
		f, err := p.read(context.Background(), s, now.Add(time.Duration(i)*FlowInterval))
		if err != nil || len(f.Problems) > 0 {
			t.Fatalf("%v, problems %v", err, f.Problems)
		}
		// A state and a list for each stream, the oldest message of each input, some messages of each port, and of some when their input was stored.
		if n := requests.Load(); n > 64*6+10 {
			t.Errorf("reading %d: %d requests", i, n)
		}
		t.Logf("reading %d: %d requests", i, requests.Load())
		if i == 0 {
			continue
		}
		g := GraphOf(l)
		for k, e := range g.Edges {
			if flow := &f.Edges[k]; flow.Events == nil || *flow.Events <= 0 || e.To != "" && (flow.Lag == nil || *flow.Lag != int64(200*8*(i+1)) || flow.OldestAge == nil) {
				t.Fatalf("reading %d: edge %+v: %+v", i, e, describe(&Flow{Edges: []EdgeFlow{*flow}}))
			}
		}
	}
}

// BenchmarkReadingOfLargePipeline is what a reading of 64 stages with 8 partitions costs the reader and the server: there is one each 2 s,
// however many watch.
func BenchmarkReadingOfLargePipeline(b *testing.B) {
	l, server, js := large(b, 64)
	var requests atomic.Int64
	pool := jetstream.NewPool(jetstream.PoolOptions{Patience: 10 * time.Second, RequestTimeout: 10 * time.Second, Requested: func(string, string, time.Duration) { requests.Add(1) }})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: server.URL()})
	if err != nil {
		b.Fatal(err)
	}
	p, s := newProbe(), &subject{layout: l, client: client}
	var reader, servers float64
	i := 0
	for b.Loop() {
		b.StopTimer()
		fill(b, l, js, 8*i+1)
		own, of := cpu(b, "self"), cpu(b, strconv.Itoa(server.Pid()))
		b.StartTimer()
		if _, err := p.read(context.Background(), s, time.Now()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		reader, servers = reader+cpu(b, "self")-own, servers+cpu(b, strconv.Itoa(server.Pid()))-of
		b.StartTimer()
		i++
	}
	b.ReportMetric(1000*reader/float64(i), "reader-ms/op")
	b.ReportMetric(1000*servers/float64(i), "server-ms/op")
	b.ReportMetric(float64(requests.Load())/float64(i), "requests/op")
}

// cpu is the user and system time of a process so far, in seconds: /proc counts hundredths.
func cpu(t testing.TB, pid string) float64 {
	t.Helper()
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	sum := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return float64(sum) / 100
}

func message(to string, body []byte, events int) *nats.Msg {
	m := nats.NewMsg(to)
	m.Data = body
	m.Header.Set("Millrace-Events", strconv.Itoa(events))
	return m
}
