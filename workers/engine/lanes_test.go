package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// lanes makes the streams of a stage with a lane per partition.
func (r *rig) lanes() {
	r.t.Helper()
	for i := range partitions {
		if _, err := r.js.CreateConsumer(ctxOf(r.t), "IN", jetstream.ConsumerConfig{
			Durable: fmt.Sprintf("lane-%d", i), FilterSubject: fmt.Sprintf("in.p.%d", i),
			AckPolicy: jetstream.AckAllPolicy, AckWait: 5 * time.Minute, MaxAckPending: 1000, MaxDeliver: -1,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.js.CreateKeyValue(ctxOf(r.t), jetstream.KeyValueConfig{Bucket: "leases"}); err != nil {
		r.t.Fatal(err)
	}
}

// withLanes configures a stage with a lane per partition and leases.
func withLanes(c *config.StageConfig, o *engine.Options) {
	c.Lanes, c.Leases = partitions, "leases"
	c.Inputs = []config.Input{{From: "before/out", Stream: "IN", Durable: "lane", Subject: "in.p"}}
	o.LeaseEvery, o.LeaseExpire = 200*time.Millisecond, time.Second
}

// publishPartitions stores frames of size events on the subjects of their partitions; the key
// of an event is that of its partition, its id is <prefix><partition>.<number>.
func (r *rig) publishPartitions(prefix string, frames, size int) (ids []string) {
	r.t.Helper()
	numbers := [partitions]int{}
	for f := range frames {
		p := f % partitions
		var lines strings.Builder
		for range size {
			id := fmt.Sprintf("%s%d.%d", prefix, p, numbers[p])
			numbers[p]++
			ids = append(ids, id)
			lines.WriteString(eventJSON(id) + "\n")
		}
		msg := nats.NewMsg(fmt.Sprintf("in.p.%d", p))
		msg.Header.Set("Content-Type", event.ContentTypeFrame)
		r.send(msg, r.frame(lines.String()))
	}
	return ids
}

// wantInOrder checks that events of each partition are in stream order on their own subject.
func (r *rig) wantInOrder(stream string) {
	r.t.Helper()
	last := map[string]int{}
	for _, m := range r.stored(stream) {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			head, number, _ := strings.Cut(events[i].ID, ".")
			var n int
			if _, err := fmt.Sscan(number, &n); err != nil {
				r.t.Fatal(err)
			}
			if p := head[len(head)-1:]; !strings.HasSuffix(m.Subject(), "."+p) {
				r.t.Errorf("event %s is on %s", events[i].ID, m.Subject())
			}
			if before, ok := last[head]; ok && n != before+1 {
				r.t.Errorf("event %s comes after number %d", events[i].ID, before)
			}
			last[head] = n
		}
	}
}

func (r *rig) drainedLanes(within time.Duration) {
	r.t.Helper()
	eventually(r.t, within, func() string {
		for i := range partitions {
			c, err := r.js.Consumer(ctxOf(r.t), "IN", fmt.Sprintf("lane-%d", i))
			if err != nil {
				return err.Error()
			}
			s, err := r.js.Stream(ctxOf(r.t), "IN")
			if err != nil {
				return err.Error()
			}
			last, err := s.GetLastMsgForSubject(ctxOf(r.t), fmt.Sprintf("in.p.%d", i))
			if err != nil {
				return err.Error()
			}
			if floor := c.CachedInfo().AckFloor.Stream; floor < last.Sequence {
				return fmt.Sprintf("lane %d: acknowledged up to %d of %d", i, floor, last.Sequence)
			}
		}
		return ""
	})
}

// TestWorkersComeAndGo scales a stage from 1 to 3 workers and back under load, and kills one.
func TestWorkersComeAndGo(t *testing.T) {
	r := newRig(t)
	r.lanes()
	slow := func() *testStage {
		return &testStage{stateful: true, process: func(context.Context, *stage.Batch) error { time.Sleep(time.Millisecond); return nil }}
	}
	want := r.publishPartitions("a", 800, 20)
	first := r.run(slow(), withLanes)
	eventually(t, 10*time.Second, func() string { return cmp.Diff(partitions, first.Stats().Lanes) })
	second, third := r.run(slow(), withLanes), r.run(slow(), withLanes)
	eventually(t, 10*time.Second, func() string {
		got := []int{first.Stats().Lanes, second.Stats().Lanes, third.Stats().Lanes}
		slices.Sort(got)
		return cmp.Diff([]int{1, 1, 2}, got)
	})
	want = append(want, r.publishPartitions("b", 800, 20)...)
	second.nc.Close() // as kill -9 does
	_ = second.end()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string { return cmp.Diff(partitions, third.Stats().Lanes) })
	r.drainedLanes(30 * time.Second)
	if err := third.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
	r.wantInOrder("OUT")
}

// TestZombieIsRefused has two workers that both think that they own the lanes, since each
// looks at a table of its own: what is stored is stored once and in order, and the one that
// the table does not name ends. That holds also when a person emptied the output meanwhile, so that what
// stands there is not behind what the zombie knows.
func TestZombieIsRefused(t *testing.T) {
	for name, purged := range map[string]bool{"by what was stored": false, "after a purge": true} {
		t.Run(name, func(t *testing.T) { testZombie(t, purged) })
	}
}

func testZombie(t *testing.T, purged bool) {
	r := newRig(t)
	r.lanes()
	kv, err := r.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases-of-the-zombie"})
	if err != nil {
		t.Fatal(err)
	}
	want := r.publishPartitions("z", 8, 5)
	first := r.run(&testStage{stateful: true}, withLanes)
	r.drainedLanes(15 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	release, entered := make(chan struct{}), make(chan struct{}, 1000)
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	zombie := r.run(&testStage{stateful: true, process: func(context.Context, *stage.Batch) error {
		entered <- struct{}{}
		<-release
		return nil
	}}, func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		c.Leases = "leases-of-the-zombie"
	})
	want = append(want, r.publishPartitions("a", 40, 20)...)
	for range partitions {
		<-entered
	}
	second := r.run(&testStage{stateful: true}, withLanes)
	r.drainedLanes(15 * time.Second)
	if _, err := kv.PutString(t.Context(), "validate", `{"workers":{"x":{"beat":1}},"lanes":["x","x","x","x"]}`); err != nil {
		t.Fatal(err)
	}
	if purged {
		out, err := r.js.Stream(t.Context(), "OUT")
		if err == nil {
			err = out.Purge(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		want = nil
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
	r.wantInOrder("OUT")
}

// TestFrozenWorkerDoesNotAcknowledge has a worker stop in the middle of a step, for longer than its leases last,
// and go on when others have its lanes: what it still stores is found stored, and acknowledging it is theirs. By
// the old number of an acknowledgement the server would take what they acknowledge for old.
func TestFrozenWorkerDoesNotAcknowledge(t *testing.T) {
	r := newRig(t)
	r.lanes()
	kv, err := r.js.KeyValue(t.Context(), "leases")
	if err != nil {
		t.Fatal(err)
	}
	release, entered := make(chan struct{}), make(chan struct{}, partitions)
	var frozen atomic.Int64
	w := r.run(&testStage{stateful: true, process: func(context.Context, *stage.Batch) error {
		entered <- struct{}{}
		<-release
		return nil
	}}, func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		o.LeaseEvery, o.LeaseExpire = time.Minute, 3*time.Minute // it does not look by itself while the test lasts
		o.Now = func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
	})
	r.publishPartitions("a", partitions, 5)
	for range partitions {
		<-entered
	}
	time.Sleep(500 * time.Millisecond) // it looks once more when it has told others of the lanes that it took
	if _, err := kv.PutString(t.Context(), "validate", `{"workers":{"x":{"beat":1}},"lanes":["x","x","x","x"]}`); err != nil {
		t.Fatal(err)
	}
	frozen.Store(int64(4 * time.Minute))
	close(release)
	eventually(t, 5*time.Second, func() string { return cmp.Diff(0, w.Stats().Lanes) })
	// What the first lane finds out ends the others, some of them before they store.
	if stored, _ := r.count("OUT"); len(stored) == 0 {
		t.Error("nothing was stored: the test shows nothing")
	}
	for i := range partitions {
		c, err := r.js.Consumer(t.Context(), "IN", fmt.Sprintf("lane-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if floor := c.CachedInfo().AckFloor.Stream; floor != 0 {
			t.Errorf("lane %d: acknowledged up to %d by a worker that has it no more", i, floor)
		}
	}
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

// counting is a stage with state: it emits the running number of each event of its lane as a
// new event, which is right only when the state is what it was.
type counting struct {
	mu   sync.Mutex
	made int
	// replay, if set, is called when an instance gets its first event.
	replay func()
}

func (*counting) Kind() config.Kind                 { return config.KindValidate }
func (*counting) Stateful(*config.StageConfig) bool { return true }
func (c *counting) New(stage.Settings) (stage.Stage, error) {
	c.mu.Lock()
	c.made++
	c.mu.Unlock()
	return &count{replay: c.replay}, nil
}

type count struct {
	n      int
	replay func()
}

func (*count) Start(context.Context) error    { return nil }
func (*count) Shutdown(context.Context) error { return nil }
func (*count) Horizon() time.Duration         { return time.Hour }
func (c *count) Process(_ context.Context, b *stage.Batch) error {
	if c.n == 0 && c.replay != nil {
		c.replay()
	}
	for i := range b.Events {
		c.n++
		id := fmt.Sprintf("%s=%d", b.Events[i].ID, c.n)
		b.Filter(i)
		b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: id, Source: "s", Type: "t"})
		if c.n%10 == 0 {
			b.Produce(stage.NoParent, stage.Insights, &eventv1.Event{Id: "insight-" + id, Source: "s", Type: "t", Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: "x"}}})
		}
	}
	return nil
}

// TestStateIsRebuilt kills workers of a stage with state: the next one knows what the one
// before knew, and stores nothing again.
func TestStateIsRebuilt(t *testing.T) {
	r := newRig(t)
	var ids []string
	f := &counting{}
	for round := range 5 {
		ids = append(ids, r.publishFrames(fmt.Sprintf("f%d", round), 24, 25)...) // however much the round before got through
		e := r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
			o.Factory, c.Batch.MaxEvents, c.DrainTimeout = f, 25, config.Duration(100*time.Millisecond)
		})
		eventually(t, 10*time.Second, func() string {
			if e.Stats().In < 250 {
				return "not yet under way"
			}
			return ""
		})
		e.nc.Close()
		_ = e.end()
		if round == 2 { // the acknowledgements are lost, too
			c, err := r.js.Consumer(t.Context(), "IN", "stage")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.nc.Request("$JS.API.CONSUMER.RESET.IN.stage", []byte(fmt.Sprintf(`{"seq":%d}`, max(c.CachedInfo().AckFloor.Stream/2, 1))), 2*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	var want, wantInsights []string
	for i, id := range ids {
		want = append(want, fmt.Sprintf("%s=%d", id, i+1))
		if (i+1)%10 == 0 {
			wantInsights = append(wantInsights, "insight-"+want[i])
		}
	}
	r.wantOnce("OUT", want)
	var insights []string
	for _, m := range r.stored("INSIGHTS") {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		insights = append(insights, events[0].ID)
	}
	if diff := cmp.Diff(wantInsights, insights); diff != "" {
		t.Errorf("insights (-want +got):\n%s", diff)
	}
}

// TestInputGoesOnDuringTakeover has somebody else receive and acknowledge messages after a
// worker has found out where its lane stands, and before it receives anything: as a worker does
// that does not know yet that it has lost the lane.
func TestInputGoesOnDuringTakeover(t *testing.T) {
	r := newRig(t)
	f := &counting{}
	ids := r.publishFrames("old", 4, 25)
	first := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
	r.wantDrained(10 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, r.publishFrames("new", 8, 25)...)
	c, err := r.js.Consumer(t.Context(), "IN", "stage")
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	f.replay = func() {
		once.Do(func() {
			batch, err := c.Fetch(5)
			if err != nil {
				t.Error(err)
				return
			}
			for m := range batch.Messages() {
				if err := m.Ack(); err != nil {
					t.Error(err)
				}
			}
			if err := r.nc.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	second := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
	r.wantDrained(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	// The outputs of the five are missing here, since nobody stored them; but they were counted.
	var want []string
	for i, id := range ids {
		if i < 100 || i >= 225 {
			want = append(want, fmt.Sprintf("%s=%d", id, i+1))
		}
	}
	r.wantOnce("OUT", want)
}

// TestInputStreamMadeAnew deletes the input stream under a worker: the new one counts from
// 1 again, and nothing of it is taken for stored.
func TestInputStreamMadeAnew(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("old", 20, 10)
	e := r.run(&testStage{}, nil)
	r.wantDrained(10 * time.Second)
	if err := r.js.DeleteStream(t.Context(), "IN"); err != nil {
		t.Fatal(err)
	}
	r.stream("IN", "in.>", nil)
	r.consumer(nil)
	want = append(want, r.publishFrames("new", 20, 10)...)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

// TestManyDeadLetters stores single messages in atomic batches; a stream that does not allow
// them gets them one by one.
func TestManyDeadLetters(t *testing.T) {
	for name, atomic := range map[string]bool{"atomic": true, "one by one": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if !atomic {
				if err := r.js.DeleteStream(t.Context(), "DEAD"); err != nil {
					t.Fatal(err)
				}
				r.stream("DEAD", "dead.>", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
			}
			for i := range 1200 {
				r.send(nats.NewMsg("in.raw.x"), []byte(fmt.Sprintf("garbage %d", i)))
			}
			e := r.run(&testStage{}, nil)
			r.wantDrained(20 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			dead := r.stored("DEAD")
			for i, m := range dead {
				if want := fmt.Sprintf("garbage %d", i); string(m.Data()) != want {
					t.Fatalf("dead letter %d is %q", i, m.Data())
				}
			}
			if len(dead) != 1200 {
				t.Errorf("%d dead letters, want 1200", len(dead))
			}
		})
	}
}

// chained is a factory of stages for a chain.
type chained struct {
	kind config.Kind
	*testStage
}

func (c chained) Kind() config.Kind { return c.kind }

// member is the config of a stage behind the first one of a chain; out is the stream of its port out, empty = only
// the chain reads that.
func member(name, from string, kind config.Kind, out string) config.StageConfig {
	s := *stageConfig()
	s.Stage, s.Kind, s.Validate = name, kind, nil
	s.Inputs = []config.Input{{From: from}}
	s.Outputs = map[string]config.Output{config.PortDeadLetter: {Stream: "DEAD", Subject: "dead." + name, Format: config.FormatRaw}}
	if out != "" {
		s.Outputs[config.PortOut] = config.Output{Stream: out, Subject: strings.ToLower(out) + "." + name, Format: config.FormatFrame}
	}
	return s
}

// TestChainThatBranches runs a -> b -> d and a -> c in one worker: what c and d add to the same events does not
// get into each other's way, whichever goroutine they work in.
func TestChainThatBranches(t *testing.T) {
	r := newRig(t)
	r.stream("OUT2", "out2.>", nil)
	nameOf := func(by, id string) string { return strings.Repeat(by, 200) + id }
	mark := func(by string) *testStage {
		return &testStage{process: func(_ context.Context, b *stage.Batch) error {
			for i := range b.Events {
				b.Events[i].SetEntity(event.EntityRef{Kind: "Pod", Name: nameOf(by, b.Events[i].ID)})
			}
			return nil
		}}
	}
	a, b := chained{config.KindValidate, &testStage{}}, chained{config.KindEnrich, &testStage{}}
	c, d := chained{config.KindCorrelate, mark("c")}, chained{config.KindAnalyze, mark("d")}
	ids := r.publishFrames("f", 60, 100)

	e := r.run(a.testStage, func(cfg *config.StageConfig, o *engine.Options) {
		o.Registry = stage.NewRegistry(a, b, c, d)
		delete(cfg.Outputs, config.PortOut)
		cfg.Chain = []config.StageConfig{
			member("b", "validate/out", config.KindEnrich, ""), member("c", "validate/out", config.KindCorrelate, "OUT"),
			member("d", "b/out", config.KindAnalyze, "OUT2"),
		}
	})
	r.wantDrained(60 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	for by, stream := range map[string]string{"c": "OUT", "d": "OUT2"} {
		r.wantOnce(stream, ids)
		for _, m := range r.stored(stream) {
			events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
			if len(bad) > 0 {
				t.Fatal(bad[0].Err)
			}
			for i := range events {
				if got, want := events[i].Entity.Name, nameOf(by, events[i].ID); got != want {
					t.Fatalf("%s: event %s is of %q, want %q", stream, events[i].ID, got, want)
				}
			}
		}
	}
}

// TestChain runs three stages in one worker: b and c both read what a lets through.
func TestChain(t *testing.T) {
	r := newRig(t)
	r.stream("OUT2", "out2.>", nil)
	var mu sync.Mutex
	seen := 0
	a := chained{config.KindValidate, &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if strings.HasSuffix(b.Events[i].ID, "3") {
				b.Filter(i)
			}
		}
		return nil
	}}}
	b := chained{config.KindEnrich, &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Events[i].SetSemantic(event.Semantic{Class: "b"})
		}
		return nil
	}}}
	c := chained{config.KindAnalyze, &testStage{stateful: true, process: func(_ context.Context, b *stage.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Events {
			seen++
			b.Filter(i)
			b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "made-" + b.Events[i].ID, Source: "s", Type: "t"})
		}
		return nil
	}}}
	ids := r.publishFrames("f", 30, 40)
	ids = append(ids, r.publish("loose", 200)...)
	var want, made []string
	for _, id := range ids {
		if !strings.HasSuffix(id, "3") {
			want, made = append(want, id), append(made, "made-"+id)
		}
	}

	exporter, tracer := recorded(t)
	e := r.run(a.testStage, func(cfg *config.StageConfig, o *engine.Options) {
		o.Registry, o.Tracer = stage.NewRegistry(a, b, c), tracer
		delete(cfg.Outputs, config.PortOut) // only the chain reads it
		cfg.Chain = []config.StageConfig{member("b", "validate/out", config.KindEnrich, "OUT"), member("c", "validate/out", config.KindAnalyze, "OUT2")}
	})
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
	r.wantOnce("OUT2", made)
	wantChainedSpans(t, exporter.GetSpans())
	head := e.Stats()
	second, _ := e.StatsOf("b")
	third, ok := e.StatsOf("c")
	if !ok || head.In != int64(len(ids)) || head.Out != int64(len(want)) || second.Out != int64(len(want)) || third.Filtered != int64(len(want)) || third.Produced["out"] != int64(len(made)) {
		t.Errorf("stats: %+v\n%+v\n%+v", head, second, third)
	}
}
