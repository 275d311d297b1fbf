package engine_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// newKeys is how many keys the stage of these tests gives to events.
const newKeys = 7

// newKeyOf is the key that an event is given, by the number that ends its id.
func newKeyOf(t testing.TB, id string) string {
	t.Helper()
	_, number, _ := strings.Cut(id, ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("event %q: %v", id, err)
	}
	return "new-" + strconv.Itoa(n%newKeys)
}

// rekeying is a stage that gives events new keys.
func (r *rig) rekeying() *testStage {
	return &testStage{process: func(_ context.Context, b *stage.Batch) error {
		time.Sleep(time.Millisecond)
		for i := range b.Events {
			b.Events[i].SetPartitionKey(newKeyOf(r.t, b.Events[i].ID))
		}
		return nil
	}}
}

// repartitions configures a stage with a lane per partition that sends events to the partitions of their new keys.
func repartitions(c *config.StageConfig, o *engine.Options) {
	withLanes(c, o)
	c.DrainTimeout = config.Duration(time.Second) // one that is killed would wait for longer
	out := c.Outputs[config.PortOut]
	out.Repartition = true
	c.Outputs[config.PortOut] = out
}

// reads makes the streams of a stage that reads what one that repartitions has written, and returns its config.
func (r *rig) reads() func(*config.StageConfig, *engine.Options) {
	r.t.Helper()
	r.stream("LAST", "last.>", nil)
	in := config.Input{From: "validate/out", Stream: "OUT", Durable: "reader", Subject: "out.validated", Repartitioned: true}
	for lane := range partitions {
		if _, err := r.js.CreateConsumer(ctxOf(r.t), "OUT", jetstream.ConsumerConfig{
			Durable: in.Consumer(lane, partitions), FilterSubject: in.Filter(lane, partitions),
			AckPolicy: jetstream.AckAllPolicy, AckWait: 5 * time.Minute, MaxAckPending: 1000, MaxDeliver: -1,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	return func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		c.Stage, c.Inputs = "reader", []config.Input{in}
		c.Outputs = map[string]config.Output{
			config.PortOut:        {Stream: "LAST", Subject: "last.read", Format: config.FormatFrame},
			config.PortDeadLetter: {Stream: "DEAD", Subject: "dead.reader", Format: config.FormatRaw},
		}
	}
}

// drainedReaders waits until the reader has stored n events.
func (r *rig) drainedReaders(within time.Duration, n int) {
	r.t.Helper()
	eventually(r.t, within, func() string {
		left := 0
		for lane := range partitions {
			c, err := r.js.Consumer(ctxOf(r.t), "OUT", fmt.Sprintf("reader-%d", lane))
			if err != nil {
				return err.Error()
			}
			left += int(c.CachedInfo().NumPending) + c.CachedInfo().NumAckPending
		}
		if counts, _ := r.count("LAST"); len(counts) < n || left > 0 {
			return fmt.Sprintf("%d of %d events, %d frames are left", len(counts), n, left)
		}
		return ""
	})
}

// wantRepartitioned checks that each event of a stream is in the partition of its new key, and that of each key the events of one
// old partition are in order: these were one lane's.
func (r *rig) wantRepartitioned(stream string) {
	r.t.Helper()
	last, seen := map[string]int{}, map[string]bool{}
	for _, m := range r.stored(stream) {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			id, key := events[i].ID, newKeyOf(r.t, events[i].ID)
			if want, got := strconv.Itoa(event.Partition(key, partitions)), strings.Split(m.Subject(), ".")[2]; got != want {
				r.t.Errorf("event %s is on %s, want partition %s", id, m.Subject(), want)
			}
			head, number, _ := strings.Cut(id, ".")
			n, _ := strconv.Atoi(number) // newKeyOf has read it
			at := head + "/" + key
			if before, ok := last[at]; ok && n != before+newKeys {
				r.t.Errorf("%s: event %s comes after number %d of its key", stream, id, before)
			}
			last[at] = n
			seen[m.Subject()] = true
		}
	}
	if len(seen) < partitions {
		r.t.Errorf("only %d subjects of %s are used: the test shows little", len(seen), stream)
	}
}

// TestRepartitionWhileWorkersDie has three workers give events new keys, and others read them in lanes of these keys, while workers of both
// stages are killed.
func TestRepartitionWhileWorkersDie(t *testing.T) {
	r := newRig(t)
	r.lanes()
	reader := r.reads()
	kill := func(w *running) {
		w.nc.Close() // as kill -9 does
		_ = w.end()
	}
	writers := []*running{r.run(r.rekeying(), repartitions), r.run(r.rekeying(), repartitions), r.run(r.rekeying(), repartitions)}
	readers := []*running{r.run(&testStage{stateful: true}, reader), r.run(&testStage{stateful: true}, reader)}
	want := r.publishPartitions("a", 400, 20)
	eventually(t, 10*time.Second, func() string {
		if in := writers[0].Stats().In; in < 200 {
			return fmt.Sprintf("the first worker has processed %d events", in)
		}
		return ""
	})
	kill(writers[0])
	writers = append(writers[1:], r.run(r.rekeying(), repartitions))
	want = append(want, r.publishPartitions("b", 400, 20)...)
	kill(readers[0])
	kill(writers[0])
	readers = append(readers[1:], r.run(&testStage{stateful: true}, reader))
	want = append(want, r.publishPartitions("c", 400, 20)...)
	r.drainedLanes(30 * time.Second)
	r.drainedReaders(30*time.Second, len(want))
	for _, w := range append(writers[1:], readers...) {
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
	}
	r.wantOnce("OUT", want)
	r.wantRepartitioned("OUT")
	r.wantOnce("LAST", want)
	r.wantRepartitioned("LAST")
}

// TestZombieIsFencedInAllPartitions has a worker that lost its lanes without noticing go on: what it stores on any partition is refused.
func TestZombieIsFencedInAllPartitions(t *testing.T) {
	r := newRig(t)
	r.lanes()
	kv, err := r.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases-of-the-zombie"})
	if err != nil {
		t.Fatal(err)
	}
	release, entered := make(chan struct{}), make(chan struct{}, 1000)
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	give := r.rekeying().process
	want := r.publishPartitions("a", 40, 20)
	zombie := r.run(&testStage{process: func(ctx context.Context, b *stage.Batch) error {
		entered <- struct{}{}
		<-release
		return give(ctx, b)
	}}, func(c *config.StageConfig, o *engine.Options) {
		repartitions(c, o)
		c.Leases = "leases-of-the-zombie"
	})
	for range partitions {
		<-entered
	}
	second := r.run(r.rekeying(), repartitions)
	r.drainedLanes(15 * time.Second)
	if _, err := kv.PutString(t.Context(), "validate", `{"workers":{"x":{"beat":1}},"lanes":["x","x","x","x"]}`); err != nil {
		t.Fatal(err)
	}
	free()
	eventually(t, 5*time.Second, func() string { return cmp.Diff(0, zombie.Stats().Lanes) })
	if err := zombie.end(); err != nil {
		t.Error(err)
	}
	want = append(want, r.publishPartitions("b", 40, 20)...)
	r.drainedLanes(15 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
	r.wantRepartitioned("OUT")
}

// TestLanesAtTheIngressWhileWorkersDie publishes single events on many subjects of an ingress with partitions, to three workers of which two
// are killed: events of one subject are stored once and in order, in the partitions of their keys, and dead letters name the subject.
func TestLanesAtTheIngressWhileWorkersDie(t *testing.T) {
	r := newRig(t)
	in := config.Input{From: config.Ingress, Stream: "RAW", Durable: "lane", Subject: "raw.in", Repartitioned: true}
	r.stream("RAW", "raw.in.>", func(c *jetstream.StreamConfig) {
		source, destination := config.SubjectTransform("raw.in", partitions)
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: source, Destination: destination}
	})
	if _, err := r.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases"}); err != nil {
		t.Fatal(err)
	}
	for lane := range partitions {
		if _, err := r.js.CreateConsumer(t.Context(), "RAW", jetstream.ConsumerConfig{
			Durable: in.Consumer(lane, partitions), FilterSubject: in.Filter(lane, partitions),
			AckPolicy: jetstream.AckAllPolicy, AckWait: 5 * time.Minute, MaxAckPending: 1000, MaxDeliver: -1,
		}); err != nil {
			t.Fatal(err)
		}
	}
	atIngress := func(c *config.StageConfig, o *engine.Options) {
		repartitions(c, o)
		c.Inputs = []config.Input{in}
	}
	worker := func() *running {
		return r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error { time.Sleep(time.Millisecond); return nil }}, atIngress)
	}
	const hosts, rounds = 20, 60
	var want []string
	publish := func(round int) {
		for n := round * rounds; n < (round+1)*rounds; n++ {
			for host := range hosts {
				id := fmt.Sprintf("%d.%d", host, n)
				want = append(want, id)
				body := fmt.Sprintf(`{"id":%q,"source":"test","type":"test.made","partitionkey":%q}`, id, newKeyOf(t, id))
				if _, err := r.js.PublishAsync(fmt.Sprintf("raw.in.host.%d", host), []byte(body)); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-r.js.PublishAsyncComplete()
	}
	workers := []*running{worker(), worker(), worker()}
	for round := range 3 {
		publish(round)
		if round < 2 {
			workers[0].nc.Close() // as kill -9 does
			_ = workers[0].end()
			workers = append(workers[1:], worker())
		}
	}
	if _, err := r.js.Publish(t.Context(), "raw.in.host.3", []byte("no event {")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() string {
		for lane := range partitions {
			c, err := r.js.Consumer(ctxOf(t), "RAW", in.Consumer(lane, partitions))
			if err != nil {
				return err.Error()
			}
			if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				return fmt.Sprintf("lane %d: %d messages are left, %d in hand", lane, i.NumPending, i.NumAckPending)
			}
		}
		return ""
	})
	for _, w := range workers {
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
	}
	r.wantOnce("OUT", want)
	r.wantRepartitioned("OUT")
	dead := r.stored("DEAD")
	if len(dead) != 1 || dead[0].Headers().Get("Millrace-Subject") != "raw.in.host.3" {
		t.Errorf("got %d dead letters: %v", len(dead), dead)
	}
}
