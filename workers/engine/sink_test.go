package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// table is the target of a sink: it outlives the workers, as a database does.
type table struct {
	mu     sync.Mutex
	places map[string]string
	rows   []string
	stores int // that took effect
	// fault is what befalls a call of Store with rows, by lot or as a test says; nil = nothing.
	fault func(rows []string) fault
}

type fault struct {
	before, after error // the call fails, with or without effect
	refused       []int
}

func (t *table) place(lane string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places[lane]
}

func (t *table) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rows)
}

func (t *table) store(lane string, rows []any, from, to string) error {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.(string)
	}
	var f fault
	if t.fault != nil && len(rows) > 0 {
		f = t.fault(ids)
	}
	switch {
	case f.before != nil:
		return f.before
	case len(f.refused) > 0:
		r := &stage.Refused{}
		for _, i := range f.refused {
			r.Rows = append(r.Rows, stage.RefusedRow{Row: i, Reason: "constraint", Err: fmt.Errorf("%s violates a constraint", ids[i])})
		}
		return r
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.places == nil {
		t.places = map[string]string{}
	}
	if t.places[lane] != from {
		return fmt.Errorf("lane %s stands at %q, not at %q", lane, t.places[lane], from)
	}
	t.places[lane] = to
	t.rows = append(t.rows, ids...)
	t.stores++
	return f.after
}

// sinkStage keeps what its process says in a table.
type sinkStage struct {
	testStage
	table *table
}

func (s *sinkStage) New(stage.Settings) (stage.Stage, error) { return s, nil }

func (s *sinkStage) Place(_ context.Context, lane string) (string, error) {
	return s.table.place(lane), nil
}

func (s *sinkStage) Store(_ context.Context, lane string, rows []any, from, to string) error {
	return s.table.store(lane, rows, from, to)
}

// keepAll keeps every event by its id.
func keepAll(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		b.Keep(i, strings.Clone(b.Events[i].ID))
	}
	return nil
}

func (r *rig) runSink(s *sinkStage, change func(*config.StageConfig, *engine.Options)) *running {
	return r.run(&s.testStage, func(c *config.StageConfig, o *engine.Options) {
		o.Factory = s
		c.DrainTimeout = config.Duration(100 * time.Millisecond)
		if change != nil {
			change(c, o)
		}
	})
}

// TestSinkKeepsEachEventOnce: workers are killed at any moment, the target fails before and after it has stored, and refuses some rows. Each
// event is in the table once, in order, or in the dead letters once.
func TestSinkKeepsEachEventOnce(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			lot := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return lot.IntN(n)
			}
			away := errors.New("connection reset")
			target := &table{fault: func(rows []string) (f fault) {
				switch draw(6) {
				case 0:
					f.before = away
				case 1:
					f.after = away
				}
				for i, id := range rows {
					if strings.HasSuffix(id, "13") {
						f.refused = append(f.refused, i)
					}
				}
				return f
			}}
			var want, refused []string
			for k := range 12 {
				for _, id := range append(r.publishFrames(fmt.Sprintf("f%d-", k), 3, 40), r.publish(fmt.Sprintf("g%d-", k), 40)...) {
					if strings.HasSuffix(id, "13") {
						refused = append(refused, id)
					} else {
						want = append(want, id)
					}
				}
			}
			for range 6 {
				s := &sinkStage{testStage: testStage{process: keepAll}, table: target}
				e := r.runSink(s, nil)
				time.Sleep(time.Duration(draw(400)) * time.Millisecond)
				e.nc.Close() // as when it is killed
				_ = e.end()
			}
			e := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, nil)
			r.wantDrained(30 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			if got := target.all(); !slices.Equal(got, want) {
				t.Errorf("the table has %d rows, want %d, in the order of the input", len(got), len(want))
			}
			r.wantOnce("DEAD", refused)
			for _, m := range r.stored("DEAD") {
				if m.Headers().Get("Millrace-Reason") != "constraint" || !strings.Contains(m.Headers().Get("Millrace-Error"), "violates") {
					t.Fatalf("headers of a dead letter: %v", m.Headers())
				}
			}
		})
	}
}

// TestSinkThatDecidesAnew: a worker is killed when the dead letters of a step are stored, and its rows are not. The next one decides
// otherwise: what is a dead letter is not kept, and the rest is.
func TestSinkThatDecidesAnew(t *testing.T) {
	r := newRig(t)
	killed := make(chan struct{})
	var once sync.Once
	target := &table{}
	target.fault = func(rows []string) (f fault) {
		if slices.Contains(rows, "f0.2") {
			f.refused = []int{slices.Index(rows, "f0.2")}
			return f
		}
		once.Do(func() { close(killed) })
		f.before = errors.New("away")
		return f
	}
	r.publishFrames("f", 1, 6)
	e := r.runSink(&sinkStage{testStage: testStage{process: func(ctx context.Context, b *stage.Batch) error {
		_ = keepAll(ctx, b)
		b.DeadLetter(4, "test", errors.New("no row"))
		return nil
	}}, table: target}, nil)
	<-killed
	r.wantOnce("DEAD", []string{"f0.2", "f0.4"})
	e.nc.Close()
	_ = e.end()
	target.fault = nil
	e = r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if got, want := target.all(), []string{"f0.0", "f0.1", "f0.3", "f0.5"}; !slices.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
	r.wantOnce("DEAD", []string{"f0.2", "f0.4"})
	if s := e.Stats(); s.In != 6 || s.Kept != 4 || s.DeadLettered != 2 {
		t.Errorf("stats: %+v", s)
	}
}

// TestSinkWhoseTargetIsAway: the worker waits, is not ready and says why, and blames no event.
func TestSinkWhoseTargetIsAway(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	away := errors.New("connection refused")
	target := &table{fault: func([]string) fault {
		mu.Lock()
		defer mu.Unlock()
		return fault{before: away}
	}}
	ids := r.publish("e", 50)
	e := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, func(_ *config.StageConfig, o *engine.Options) {
		o.WedgedAfter = 300 * time.Millisecond
	})
	eventually(t, 10*time.Second, func() string {
		if ok, why := e.Ready(); ok || !strings.Contains(why, "connection refused") {
			return fmt.Sprintf("ready %t: %s", ok, why)
		}
		return ""
	})
	time.Sleep(time.Second)
	if ok, why := e.Alive(); !ok {
		t.Errorf("the worker takes itself for dead: %s", why)
	}
	mu.Lock()
	away = nil
	mu.Unlock()
	r.wantDrained(20 * time.Second)
	if ok, why := e.Ready(); !ok {
		t.Errorf("not ready: %s", why)
	}
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if got := target.all(); !slices.Equal(got, ids) {
		t.Errorf("the table has %v", got)
	}
}

// TestSinkThatWasFrozen: a worker hangs in a call of Store while another takes its lane over. What it stores then does not take effect.
func TestSinkThatWasFrozen(t *testing.T) {
	r := newRig(t)
	frozen, thaw := make(chan struct{}), make(chan struct{})
	var once sync.Once
	target := &table{}
	target.fault = func([]string) (f fault) {
		wait := false
		once.Do(func() { wait = true })
		if wait {
			close(frozen)
			<-thaw
		}
		return f
	}
	ids := r.publishFrames("f", 3, 20)
	leased := func(c *config.StageConfig, o *engine.Options) {
		c.Leases, o.LeaseEvery, o.LeaseExpire = "leases", 100*time.Millisecond, 500*time.Millisecond
	}
	if _, err := r.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "leases"}); err != nil {
		t.Fatal(err)
	}
	first := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, leased)
	<-frozen
	first.nc.Close() // its leases expire
	second := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, leased)
	r.wantDrained(20 * time.Second)
	close(thaw)
	_ = first.end()
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	if got := target.all(); !slices.Equal(got, ids) {
		t.Errorf("the table has %d rows, want %d, each once and in order", len(got), len(ids))
	}
}

// TestSinkThatWasSetBack: the target was restored from a backup. The worker says so and goes on.
func TestSinkThatWasSetBack(t *testing.T) {
	r := newRig(t)
	target := &table{}
	var log logs.Buffer
	work := func(ids []string) {
		t.Helper()
		e := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, func(_ *config.StageConfig, o *engine.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		r.wantDrained(20 * time.Second)
		if err := e.end(); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if !slices.Contains(target.all(), id) {
				t.Fatalf("%s is not in the table", id)
			}
		}
	}
	work(r.publish("a", 20))
	backup := target.place("default/test/validate")
	work(r.publish("b", 20))
	if s := log.String(); strings.Contains(s, "backup") {
		t.Fatalf("a healthy target is taken for one that was set back: %s", s)
	}
	for place, more := range map[string]string{backup: "c", "": "d"} {
		target.places["default/test/validate"] = place
		before := log.String()
		work(r.publish(more, 20))
		if s := strings.TrimPrefix(log.String(), before); !strings.Contains(s, "the target stands before what is acknowledged") {
			t.Errorf("set back to %q: the log does not tell of it: %s", place, s)
		}
	}
}

// TestSinkStandsAlone: a sink that keeps state, or has stages chained to it, is refused.
func TestSinkStandsAlone(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*config.StageConfig, *engine.Options, *sinkStage){
		"state": func(_ *config.StageConfig, _ *engine.Options, s *sinkStage) { s.stateful = true },
		"chained": func(c *config.StageConfig, o *engine.Options, s *sinkStage) {
			next := *c
			next.Stage, next.Inputs, next.Chain = "next", []config.Input{{From: "validate/out"}}, nil
			c.Chain = []config.StageConfig{next}
			o.Registry = stage.NewRegistry(&testStage{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sinkStage{table: &table{}}
			c := stageConfig()
			o := engine.Options{Config: c, Factory: s, Conn: r.nc}
			change(c, &o, s)
			if _, err := engine.New(o); err == nil || !strings.Contains(err.Error(), "a sink keeps no state and has its worker for itself") {
				t.Errorf("got error %v", err)
			}
		})
	}
}

// TestTableIsATarget: the target of these tests passes the suite that every target passes.
func TestTableIsATarget(t *testing.T) {
	target := &table{fault: func(rows []string) (f fault) {
		if i := slices.Index(rows, "bad"); i >= 0 {
			f.refused = []int{i}
		}
		return f
	}}
	stagetest.Sink(t, stagetest.Target{
		Sink: func() stage.Sink { return &sinkStage{table: target} },
		Row:  func(i int) any { return strconv.Itoa(i) },
		Bad:  "bad",
		Rows: func() (numbers []int) {
			for _, id := range target.all() {
				n, err := strconv.Atoi(id)
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, n)
			}
			return numbers
		},
	})
}

// TestSinkFlushes: what a sink produces by the clock is stored, also behind a takeover without new input.
func TestSinkFlushes(t *testing.T) {
	r := newRig(t)
	target := &table{}
	e := r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, nil)
	r.publish("e", 5)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.runSink(&sinkStage{testStage: testStage{process: keepAll, flush: func(now time.Time, _ bool, b *stage.Batch) error {
		b.Produce(stage.NoParent, stage.Insights, &eventv1.Event{Id: now.String(), Source: "sink", Type: "tick"})
		return nil
	}}, table: target}, nil)
	eventually(t, 20*time.Second, func() string {
		if len(r.stored("INSIGHTS")) < 2 {
			return "nothing that was made by the clock is stored"
		}
		return ""
	})
}

// TestSinkWithAPortThatDrops: what is left out is counted, also in a step with refused rows.
func TestSinkWithAPortThatDrops(t *testing.T) {
	r := newRig(t)
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	r.send(nats.NewMsg("out.filler"), []byte("x"))
	target := &table{fault: func(rows []string) (f fault) {
		if rows[0] == "f0.0" {
			f.refused = []int{0}
		}
		return f
	}}
	e := r.runSink(&sinkStage{testStage: testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range 2 {
			b.Keep(i, strings.Clone(b.Events[i].ID))
		}
		return nil
	}}, table: target}, func(c *config.StageConfig, _ *engine.Options) {
		out := c.Outputs[config.PortOut]
		out.OnFull = config.Drop
		c.Outputs[config.PortOut] = out
	})
	r.publishFrames("f", 1, 6)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if s := e.Stats(); s.Dropped["out"] != 4 || s.Out != 0 || s.Kept != 1 || s.DeadLettered != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// changingSink is a sink that rules make something else.
type changingSink struct{ sinkStage }

func (s *changingSink) New(stage.Settings) (stage.Stage, error) { return s, nil }

func (*changingSink) Reload(*config.StageConfig) (stage.Stage, error) {
	return &testStage{process: keepAll}, nil
}

// TestSinkStaysOne: rules do not make a stage a sink, or end that it is one.
func TestSinkStaysOne(t *testing.T) {
	r := newRig(t)
	var with config.StageConfig
	s := &changingSink{sinkStage{testStage: testStage{process: keepAll}, table: &table{}}}
	e := r.run(&s.testStage, func(c *config.StageConfig, o *engine.Options) { o.Factory, with = s, *c })
	with.Validate = &config.Validate{Rules: []config.Rule{{Expression: "true"}}}
	if err := e.Reload(&with); !errors.Is(err, engine.ErrRestart) {
		t.Errorf("got %v, want %v", err, engine.ErrRestart)
	}
}

// TestSinkNeedsNoMoreRights: a sink takes a lane over whose floor the server has moved over messages of others.
func TestSinkNeedsNoMoreRights(t *testing.T) {
	r := newRig(t, withUsers(workerRights()))
	r.consumer(func(c *jetstream.ConsumerConfig) { c.FilterSubject = "in.raw.>" })
	target := &table{}
	run := func() *running {
		return r.runSink(&sinkStage{testStage: testStage{process: keepAll}, table: target}, func(c *config.StageConfig, _ *engine.Options) { c.Inputs[0].Subject = "in.raw.>" })
	}
	e := run()
	ids := r.publish("e", 1)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.send(nats.NewMsg("in.other.x"), []byte(eventJSON("foreign")))
	r.moveFloor("IN", "stage", 2)
	run()
	ids = append(ids, r.publish("f", 1)...)
	eventually(t, 12*time.Second, func() string {
		if got := target.all(); !slices.Equal(got, ids) {
			return fmt.Sprintf("the table has %v", got)
		}
		return ""
	})
}
