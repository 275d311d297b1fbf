package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/harness/logs"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/snapshot"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// numbering makes stages that number events: the number is their state.
type numbering struct {
	mu        sync.Mutex
	processed int // events that instances were given
	recalled  int
	panicOn   string
	failFlush bool // the next one, after a while
	refuse    bool // snapshots
}

type numberer struct {
	f *numbering
	n int
}

func (*numbering) Kind() config.Kind                         { return config.KindValidate }
func (*numbering) Stateful(*config.StageConfig) bool         { return true }
func (f *numbering) New(stage.Settings) (stage.Stage, error) { return &numberer{f: f}, nil }

func (*numberer) Start(context.Context) error    { return nil }
func (*numberer) Shutdown(context.Context) error { return nil }
func (*numberer) Horizon() time.Duration         { return time.Hour }
func (*numberer) Remembers() time.Duration       { return time.Hour }

func (c *numberer) Flush(context.Context, time.Time, bool, *stage.Batch) error {
	c.f.mu.Lock()
	fails := c.f.failFlush
	c.f.failFlush = false
	c.f.mu.Unlock()
	if fails {
		time.Sleep(200 * time.Millisecond)
		return errors.New("in the middle")
	}
	return nil
}

func (c *numberer) Recall([]*eventv1.Event, time.Time) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.recalled++
}

func (c *numberer) Process(_ context.Context, b *stage.Batch) error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for i := range b.Events {
		if id := b.Events[i].ID; id == c.f.panicOn {
			c.f.panicOn = ""
			panic("on " + id)
		}
		c.n++
		c.f.processed++
		b.Events[i].SetCorrelation(event.Correlation{CorrelationID: strconv.Itoa(c.n)})
	}
	return nil
}

func (c *numberer) Snapshot(b []byte) ([]byte, error) { return append(b, strconv.Itoa(c.n)...), nil }

func (c *numberer) Restore(b []byte) (err error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.refuse {
		c.n = 1 << 20 // what is left of a failed attempt
		return errors.New("another version")
	}
	c.n, err = strconv.Atoi(string(b))
	return err
}

// since returns how many events instances were given, and how often Recall was called, since it was called last.
func (f *numbering) since() (processed, recalled int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	processed, recalled = f.processed, f.recalled
	f.processed, f.recalled = 0, 0
	return processed, recalled
}

// manifestSubject is where the manifest of the snapshot of lane 0 is stored.
const manifestSubject = "$KV.STATE_leases.validate.0"

type kept struct {
	*rig
	f   *numbering
	log logs.Buffer
	ids []string
}

// wantKept waits until a snapshot is stored that reaches to the end of the input.
func (k *kept) wantKept() {
	k.t.Helper()
	eventually(k.t, 10*time.Second, func() string {
		in, err := k.js.Stream(k.t.Context(), "IN")
		if err != nil {
			return err.Error()
		}
		kv, err := k.js.Stream(k.t.Context(), "KV_STATE_leases")
		if err != nil {
			return err.Error()
		}
		stored, err := kv.GetLastMsgForSubject(k.t.Context(), manifestSubject)
		if err != nil {
			return "no snapshot is stored: " + err.Error()
		}
		var m snapshot.Manifest
		if err := json.Unmarshal(stored.Data, &m); err != nil {
			return err.Error()
		}
		if last := in.CachedInfo().State.LastSeq; len(m.Inputs) != 1 || m.Inputs[0].Seq < last {
			return fmt.Sprintf("the snapshot is at %+v of %d", m.Inputs, last)
		}
		return ""
	})
}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{rig: newRig(t), f: &numbering{}}
	for bucket, history := range map[string]uint8{"leases": 1, "STATE_leases": 1} {
		if _, err := k.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket, History: history}); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *kept) start(change ...func(*config.StageConfig, *engine.Options)) *running {
	return k.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
		o.Factory, o.Log = k.f, slog.New(slog.NewTextHandler(&k.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Leases = "leases"
		o.LeaseEvery, o.LeaseExpire, o.SnapshotEvery = 200*time.Millisecond, time.Second, 100*time.Millisecond
		for _, f := range change {
			f(c, o)
		}
	})
}

func (k *kept) feed(prefix string, n int) {
	k.t.Helper()
	k.ids = append(k.ids, k.publish(prefix, n)...)
	k.wantDrained(20 * time.Second)
}

// wantNumbered: each event is stored once, and its number is its place in the input: no state was lost, and none is twice.
func (k *kept) wantNumbered() {
	k.t.Helper()
	k.wantOnce("OUT", k.ids)
	numbers := map[string]string{}
	for _, m := range k.stored("OUT") {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			e, err := events[i].ToProto()
			if err != nil {
				k.t.Fatal(err)
			}
			numbers[e.GetId()] = e.GetCorrelation().GetCorrelationId()
		}
	}
	for i, id := range k.ids {
		if want := strconv.Itoa(i + 1); numbers[id] != want {
			k.t.Errorf("event %s has number %s, want %s", id, numbers[id], want)
		}
	}
}

func (k *kept) takeover(prefix string, replayed, recalled int) {
	k.t.Helper()
	k.f.since()
	next := k.start()
	k.feed(prefix, 50)
	processed, calls := k.f.since()
	if err := next.end(); err != nil {
		k.t.Fatal(err)
	}
	if processed != replayed+50 || calls != recalled {
		k.t.Errorf("%d events were replayed and Recall was called %d times, want %d and %d\n%s", processed-50, calls, replayed, recalled, k.log.String())
	}
	k.wantNumbered()
}

// TestTakeoverWithASnapshot: who gives a lane back leaves all of its state behind.
func TestTakeoverWithASnapshot(t *testing.T) {
	k := newKept(t)
	first := k.start()
	k.feed("a", 100)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	k.takeover("b", 0, 0)
	k.takeover("c", 0, 0)
}

// TestTakeoverBehindASnapshot: what came after the last snapshot of a worker that died is replayed to it.
func TestTakeoverBehindASnapshot(t *testing.T) {
	k := newKept(t)
	first := k.start()
	k.feed("a", 100)
	k.wantKept()
	first.nc.Close() // it stores nothing more
	_ = first.end()
	second := k.start(func(_ *config.StageConfig, o *engine.Options) { o.SnapshotEvery = time.Hour })
	k.feed("b", 30)
	second.nc.Close()
	_ = second.end()
	k.takeover("c", 30, 0)
}

// TestSnapshotThatCannotBeUsed: the input is replayed, as if there were none.
func TestSnapshotThatCannotBeUsed(t *testing.T) {
	const piece, manifest = manifestSubject + ".1.0", manifestSubject
	for name, spoil := range map[string]func(*kept){
		"the stage refuses it": func(k *kept) { k.f.refuse = true },
		"a wrong piece":        func(k *kept) { k.put(piece, []byte("x")) },
		"a piece is missing": func(k *kept) {
			s, err := k.js.Stream(k.t.Context(), "KV_STATE_leases")
			if err != nil {
				k.t.Fatal(err)
			}
			if err := s.Purge(k.t.Context(), jetstream.WithPurgeSubject(piece)); err != nil {
				k.t.Fatal(err)
			}
		},
		"no manifest":          func(k *kept) { k.put(manifest, []byte("{")) },
		"sizes without bounds": func(k *kept) { k.edit(manifest, `"pieces":1`, `"pieces":999999999`) },
		"ahead of the input":   func(k *kept) { k.edit(manifest, `"seq":100`, `"seq":101`) },
		"of another stream":    func(k *kept) { k.edit(manifest, `"Stream":"`, `"Stream":"x`) },
		"of another config":    func(k *kept) { k.edit(manifest, `"config":"`, `"config":"x`) },
		"the bucket is gone": func(k *kept) {
			if err := k.js.DeleteKeyValue(k.t.Context(), "STATE_leases"); err != nil {
				k.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t)
			first := k.start(func(_ *config.StageConfig, o *engine.Options) { o.SnapshotEvery = time.Hour })
			k.feed("a", 100)
			if err := first.end(); err != nil {
				t.Fatal(err)
			}
			spoil(k)
			k.takeover("b", 100, 1)
			if said := k.log.String(); !strings.Contains(said, "the snapshot of the state cannot be used") {
				t.Errorf("nothing is said of it:\n%s", said)
			}
		})
	}
}

// TestSnapshotsAfterTheManifestIsGone: it expires while a lane has no input.
func TestSnapshotsAfterTheManifestIsGone(t *testing.T) {
	k := newKept(t)
	first := k.start()
	k.feed("a", 100)
	k.wantKept()
	s, err := k.js.Stream(t.Context(), "KV_STATE_leases")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.feed("b", 50)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	k.takeover("c", 0, 0)
}

// TestNoSnapshotAfterAPanic: a state that a stage panicked on is rebuilt from the input. The event is a dead letter.
func TestNoSnapshotAfterAPanic(t *testing.T) {
	k := newKept(t)
	k.f.panicOn = "b20"
	first := k.start()
	k.feed("a", 100)
	k.feed("b", 50)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(k.log.String(), "state rebuilt"); n != 1 {
		t.Errorf("the state was rebuilt %d times, want once", n)
	}
	k.ids = slices.DeleteFunc(k.ids, func(id string) bool { return id == "b20" })
	k.wantNumbered()
}

func (k *kept) put(subject string, data []byte) {
	k.t.Helper()
	if _, err := k.js.Publish(ctxOf(k.t), subject, data); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kept) edit(subject, old, replacement string) {
	k.t.Helper()
	s, err := k.js.Stream(ctxOf(k.t), "KV_STATE_leases")
	if err != nil {
		k.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(ctxOf(k.t), subject)
	if err != nil {
		k.t.Fatal(err)
	}
	if !bytes.Contains(m.Data, []byte(old)) {
		k.t.Fatalf("%s has no %s", m.Data, old)
	}
	k.put(subject, bytes.ReplaceAll(m.Data, []byte(old), []byte(replacement)))
}

// TestSnapshotsOfSeveralInputs kills workers of a stage with two inputs, one of which loses its acknowledgements in between: a
// snapshot that is ahead of one input is not used, and each event has its number.
func TestSnapshotsOfSeveralInputs(t *testing.T) {
	k := newKept(t)
	second := k.secondInput()
	used := 0
	for round := range 6 {
		for range 40 {
			n := len(k.ids)
			id := "e" + strconv.Itoa(n)
			k.send(nats.NewMsg([]string{"in.raw.x", "in2.x"}[n*n%7%2]), []byte(eventJSON(id)))
			k.ids = append(k.ids, id)
		}
		e := k.start(func(c *config.StageConfig, o *engine.Options) {
			second(c)
			o.SnapshotEvery = 20 * time.Millisecond
		})
		eventually(t, 30*time.Second, func() string {
			if out, _ := k.count("OUT"); len(out) < len(k.ids)-5*(1-round/5) { // the last events wait for the other input
				return fmt.Sprintf("%d of %d events are stored", len(out), len(k.ids))
			}
			return ""
		})
		if round%2 == 0 {
			e.nc.Close()
		}
		_ = e.end()
		used = strings.Count(k.log.String(), "state restored")
		if round == 2 {
			c, err := k.js.Consumer(t.Context(), "IN2", "stage")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.nc.Request("$JS.API.CONSUMER.RESET.IN2.stage", fmt.Appendf(nil, `{"seq":%d}`, max(c.CachedInfo().AckFloor.Stream/2, 1)), 2*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.wantNumbered()
	if used == 0 {
		t.Errorf("no snapshot was used:\n%s", k.log.String())
	}
}

// numberingLast makes numbering stages of another kind, for the end of a chain.
type numberingLast struct{ *numbering }

func (numberingLast) Kind() config.Kind { return config.KindAnalyze }

// chained has the numbers made by the last of three stages, which is downstream of the cut, and a snapshot made so often.
func (k *kept) chained(every time.Duration) func(*config.StageConfig, *engine.Options) {
	return func(c *config.StageConfig, o *engine.Options) {
		o.Factory, o.Registry = &testStage{}, stage.NewRegistry(chained{config.KindEnrich, &testStage{}}, numberingLast{k.f})
		delete(c.Outputs, config.PortOut)
		c.Chain = []config.StageConfig{member("b", "validate/out", config.KindEnrich, ""), member("c", "b/out", config.KindAnalyze, "OUT")}
		o.SnapshotEvery = every
	}
}

// TestNoSnapshotOfASpoiledState: a stage downstream of the cut fails in a flush while the lane is about to make a snapshot.
func TestNoSnapshotOfASpoiledState(t *testing.T) {
	k := newKept(t)
	e := k.start(k.chained(1200 * time.Millisecond))
	k.feed("a", 1)
	k.f.mu.Lock()
	k.f.failFlush = true
	k.f.mu.Unlock()
	time.Sleep(1500 * time.Millisecond) // a snapshot is due, and a second of stream time has passed
	k.feed("b", 1)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if said := k.log.String(); strings.Contains(said, "state kept") || !strings.Contains(said, "the stage failed to flush") {
		t.Errorf("a snapshot was stored, or the flush did not fail:\n%s", said)
	}
}

// TestSnapshotOfAChain: the stage with state works in the second half, and what it is at belongs to the step of the snapshot.
func TestSnapshotOfAChain(t *testing.T) {
	k := newKept(t)
	chain := k.chained(5 * time.Millisecond)
	for round := range 5 {
		e := k.start(chain)
		k.feed(fmt.Sprint(round, "-"), 200)
		if round%2 == 0 {
			e.nc.Close()
		}
		_ = e.end()
	}
	k.wantNumbered()
	if n := strings.Count(k.log.String(), "state restored"); n == 0 {
		t.Errorf("no snapshot was used:\n%s", k.log.String())
	}
}
