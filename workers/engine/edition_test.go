package engine_test

import (
	"context"
	"errors"
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

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// judges makes stages that let even events through, or odd ones, as their rule says; the others are
// dead letters. The number of an event stands behind the dot of its id.
type judges struct {
	kind     config.Kind
	stateful bool
	// process, if set, is called before each batch.
	process func()
	// start, if set, is called when one starts.
	start func()

	made, started, stopped, known atomic.Int64
}

func (f *judges) Kind() config.Kind                 { return f.kind }
func (f *judges) Stateful(*config.StageConfig) bool { return f.stateful }

func (f *judges) New(s stage.Settings) (stage.Stage, error) {
	odd, err := oddOnes(s.Config)
	f.made.Add(1)
	return &judge{factory: f, odd: odd, seen: new(int64)}, err
}

func oddOnes(c *config.StageConfig) (odd bool, err error) {
	rule := c.Validate.Rules[0].Expression
	if rule != "odd" && rule != "even" {
		return false, fmt.Errorf("validate.rules[0].expression: %q is neither odd nor even", rule)
	}
	return rule == "odd", nil
}

type judge struct {
	factory *judges
	odd     bool
	seen    *int64 // the state: events that an instance, and those before it, have seen
}

func (j *judge) Start(context.Context) error {
	if j.factory.start != nil {
		j.factory.start()
	}
	j.factory.started.Add(1)
	return nil
}

func (j *judge) Shutdown(context.Context) error {
	j.factory.stopped.Add(1)
	j.factory.known.Add(*j.seen)
	return nil
}

func (j *judge) Reload(c *config.StageConfig) (stage.Stage, error) {
	odd, err := oddOnes(c)
	return &judge{j.factory, odd, j.seen}, err
}

func (j *judge) Process(_ context.Context, b *stage.Batch) error {
	if j.factory.process != nil {
		j.factory.process()
	}
	for i := range b.Events {
		if isOdd(b.Events[i].ID) != j.odd {
			b.DeadLetter(i, "rule_failed", errors.New("not by this rule"))
		}
	}
	if j.factory.stateful {
		*j.seen += int64(len(b.Events))
	}
	return nil
}

func isOdd(id string) bool {
	_, number, _ := strings.Cut(id, ".")
	return strings.HasSuffix(number, "1") || strings.HasSuffix(number, "3") || strings.HasSuffix(number, "5") ||
		strings.HasSuffix(number, "7") || strings.HasSuffix(number, "9")
}

// ruled has c and what is chained to it decide by a rule.
func ruled(c config.StageConfig, rule string) *config.StageConfig {
	c.Validate = &config.Validate{Rules: []config.Rule{{Expression: rule}}}
	chain := c.Chain
	c.Chain = nil
	for i := range chain {
		c.Chain = append(c.Chain, *ruled(chain[i], rule))
	}
	return &c
}

// owners are the sessions that have written to a stream.
func (r *rig) owners(streams ...string) map[string]bool {
	r.t.Helper()
	owners := map[string]bool{}
	for _, s := range streams {
		for _, m := range r.stored(s) {
			if owner := m.Headers().Get("Millrace-Owner"); owner != "" {
				owners[owner] = true
			}
		}
	}
	return owners
}

// split divides ids into odd and even ones.
func split(ids []string) (odd, even []string) {
	for _, id := range ids {
		if isOdd(id) {
			odd = append(odd, id)
		} else {
			even = append(even, id)
		}
	}
	return odd, even
}

// wantJudged fails the test unless each event is in one of the streams, once.
func (r *rig) wantJudged(ids []string) {
	r.t.Helper()
	out, _ := r.count("OUT")
	dead, _ := r.count("DEAD")
	for _, id := range ids {
		if out[id]+dead[id] != 1 {
			r.t.Errorf("event %s is %d times in OUT and %d times in DEAD", id, out[id], dead[id])
		}
		delete(out, id)
		delete(dead, id)
	}
	if len(out)+len(dead) > 0 {
		r.t.Errorf("what nobody sent: %v %v", out, dead)
	}
}

// wantIn fails the test unless a stream holds these events, each once; it may hold others.
func (r *rig) wantIn(stream string, ids []string) {
	r.t.Helper()
	counts, _ := r.count(stream)
	for _, id := range ids {
		if counts[id] != 1 {
			r.t.Errorf("event %s is %d times in %s, want once", id, counts[id], stream)
		}
	}
}

// TestRulesChangeUnderLoad exchanges the rules over and over while events come. Each event is judged by
// the one rule or the other, none is lost or doubled, order is kept, and no lane begins anew.
func TestRulesChangeUnderLoad(t *testing.T) {
	for name, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lanes()
			f := &judges{kind: config.KindValidate, stateful: stateful}
			var c config.StageConfig
			e := r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
				withLanes(cfg, o)
				c = *cfg
				*cfg = *ruled(c, "odd")
				o.Factory = f
			})
			made := f.made.Load()
			eventually(t, 10*time.Second, func() string { return cmp.Diff(partitions, e.Stats().Lanes) })
			ctx, cancel := context.WithCancel(t.Context())
			var changing sync.WaitGroup
			changes := 0
			changing.Go(func() {
				for ; ctx.Err() == nil; changes++ {
					if err := e.Reload(ruled(c, []string{"even", "odd"}[changes%2])); err != nil {
						t.Error(err)
					}
					time.Sleep(500 * time.Microsecond)
				}
			})
			ids := r.publishPartitions("a", 800, 25)
			r.drainedLanes(20 * time.Second)
			cancel()
			changing.Wait()
			out, _ := r.count("OUT")
			var counts [2]int
			for id := range out {
				if isOdd(id) {
					counts[1]++
				} else {
					counts[0]++
				}
			}
			if changes < 50 || counts[0] < 100 || counts[1] < 100 {
				t.Errorf("%d changes, %d even and %d odd events let through: the rules did not change under load", changes, counts[0], counts[1])
			}
			// What comes after a change is judged by the new rule.
			if err := e.Reload(ruled(c, "even")); err != nil {
				t.Fatal(err)
			}
			after := r.publishPartitions("z", 8, 25)
			r.drainedLanes(20 * time.Second)
			odd, even := split(after)
			r.wantIn("OUT", even)
			r.wantIn("DEAD", odd)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, after...)
			r.wantJudged(ids)
			if n := len(r.owners("OUT", "DEAD")); n != partitions {
				t.Errorf("%d sessions have written, want one for each of %d lanes", n, partitions)
			}
			if stateful {
				if got, want := f.known.Load(), int64(len(ids)); got != want {
					t.Errorf("the states know %d events, want %d: a change has lost state", got, want)
				}
			} else if f.made.Load() != made || f.started.Load() != 1 || f.stopped.Load() != 1 {
				t.Errorf("%d instances were made, %d started and %d stopped, want 1 of each", f.made.Load(), f.started.Load(), f.stopped.Load())
			}
		})
	}
}

// TestRulesOfAChainChange exchanges the rules of two chained stages, which work in two halves, with
// those of the second alone.
func TestRulesOfAChainChange(t *testing.T) {
	r := newRig(t)
	var c config.StageConfig
	member := config.StageConfig{
		APIVersion: config.APIVersion, Stage: "second", Kind: config.KindValidate, Partitions: partitions, Lanes: 1,
		Inputs: []config.Input{{From: "validate/out"}},
		Outputs: map[string]config.Output{
			config.PortOut:        {Stream: "OUT", Subject: "out.second", Format: config.FormatFrame},
			config.PortDeadLetter: {Stream: "DEAD", Subject: "dead.second", Format: config.FormatRaw},
		},
	}
	second := &judges{kind: config.KindValidate, stateful: true}
	e := r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
		o.Registry = stage.NewRegistry(second)
		delete(cfg.Outputs, config.PortOut)
		cfg.Chain = []config.StageConfig{*ruled(member, "odd")}
		c = *cfg
	})
	ctx, cancel := context.WithCancel(t.Context())
	var changing sync.WaitGroup
	changing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			other := c // the first stage has no Reload, and the same config
			other.Chain = []config.StageConfig{*ruled(member, []string{"even", "odd"}[n%2])}
			if err := e.Reload(&other); err != nil {
				t.Error(err)
			}
			time.Sleep(500 * time.Microsecond)
		}
	})
	ids := r.publishFrames("f", 600, 25)
	r.wantDrained(20 * time.Second)
	cancel()
	changing.Wait()
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantJudged(ids)
	if out, _ := r.count("OUT"); len(out) == len(ids) || len(out) == 0 {
		t.Errorf("%d of %d events were let through", len(out), len(ids))
	}
	if got, want := second.known.Load(), int64(len(ids)); got != want {
		t.Errorf("the state knows %d events, want %d", got, want)
	}
	if owners := r.owners("OUT", "DEAD"); len(owners) != 1 {
		t.Errorf("%d sessions have written, want 1", len(owners))
	}
}

// wantOnceThenOdd fails the test unless each of the events before is let through or a dead letter, once, and of those after the
// odd ones are let through and the even ones dead letters, beside a foreign one.
func (r *rig) wantOnceThenOdd(before, after []string) {
	r.t.Helper()
	out, _ := r.count("OUT")
	dead, _ := r.count("DEAD")
	for _, id := range before {
		if out[id]+dead[id] != 1 {
			r.t.Errorf("%s is let through %d times and dead %d times, want once", id, out[id], dead[id])
		}
		delete(out, id)
		delete(dead, id)
	}
	odd, even := split(after)
	for counts, want := range map[*map[string]int][]string{&out: odd, &dead: append(even, "foreign.0")} {
		ids := map[string]int{}
		for _, id := range want {
			ids[id] = 1
		}
		if diff := cmp.Diff(ids, *counts); diff != "" {
			r.t.Errorf("of the events after (-want +got):\n%s", diff)
		}
	}
}

// TestRulesChangeInAStepThatComesAgain has a step stored in part when the rules change and the lane
// begins anew. What comes again is judged by the new rules, unless it is stored already.
func TestRulesChangeInAStepThatComesAgain(t *testing.T) {
	r := newRig(t)
	var c config.StageConfig
	var e *running
	var once sync.Once
	ready := make(chan struct{})
	f := &judges{kind: config.KindValidate, process: func() {
		<-ready
		once.Do(func() {
			// Somebody else writes to the dead letters of the lane: what it stores there is refused.
			r.send(nats.NewMsg("dead.validate.0"), []byte(eventJSON("foreign.0")))
			if err := e.Reload(ruled(c, "odd")); err != nil {
				t.Error(err)
			}
		})
	}}
	ids := r.publishFrames("f", 1, 100)
	e = r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
		c = *cfg
		*cfg = *ruled(c, "even")
		o.Factory = f
	})
	close(ready)
	r.wantDrained(20 * time.Second)
	r.wantOnceThenOdd(ids, nil)
	if owners := r.owners("OUT", "DEAD"); len(owners) != 2 {
		t.Errorf("%d sessions have written, want 2: the lane did not begin anew", len(owners))
	}
	after := r.publishFrames("g", 3, 100)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnceThenOdd(ids, after)
}

// TestRulesChangeWhileAWorkerIsKilled has a worker killed when a step is stored in part, and its successor
// have other rules, at once or while it takes over. What is stored stays, and the rest of the step is judged by the new rules:
// nothing is lost or stored twice.
func TestRulesChangeWhileAWorkerIsKilled(t *testing.T) {
	for name, c := range map[string]struct {
		stateful, takingOver bool
	}{
		"stateless": {}, "stateful": {stateful: true}, "while it takes over": {stateful: true, takingOver: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lanes()
			full := func(n int64) {
				r.stream("DEAD", "dead.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = n })
			}
			full(1)
			r.send(nats.NewMsg("dead.other"), []byte(eventJSON("foreign.0")))
			var plain config.StageConfig
			judged := func(rule string, start func()) *running {
				return r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
					withLanes(cfg, o)
					cfg.DrainTimeout = config.Duration(100 * time.Millisecond)
					plain = *cfg
					*cfg = *ruled(plain, rule)
					o.Factory = &judges{kind: config.KindValidate, stateful: c.stateful, start: start}
				})
			}
			ids := r.publishPartitions("f", partitions, 100)
			first := judged("even", nil)
			_, even := split(ids)
			eventually(t, 10*time.Second, func() string {
				if out, _ := r.count("OUT"); len(out) < len(even) {
					return fmt.Sprintf("%d of %d events are in OUT", len(out), len(even))
				}
				return ""
			})
			first.nc.Close() // as kill -9 does
			_ = first.end()
			full(1000)
			var second *running
			if c.takingOver {
				var once sync.Once
				ready := make(chan struct{})
				second = judged("even", func() {
					<-ready
					once.Do(func() {
						if err := second.Reload(ruled(plain, "odd")); err != nil {
							t.Error(err)
						}
					})
				})
				close(ready)
			} else {
				second = judged("odd", nil)
			}
			r.drainedLanes(20 * time.Second)
			r.wantOnceThenOdd(ids, nil)
			after := r.publishPartitions("g", 2*partitions, 100)
			r.drainedLanes(20 * time.Second)
			if err := second.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnceThenOdd(ids, after)
		})
	}
}

// TestRulesOfInputThatIsJudgedAnew: whoever makes the consumers anew and purges all outputs has the input judged by the rules
// of today.
func TestRulesOfInputThatIsJudgedAnew(t *testing.T) {
	r := newRig(t)
	r.lanes()
	judged := func(rule string) *running {
		return r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
			withLanes(c, o)
			*c = *ruled(*c, rule)
			o.Factory = &judges{kind: config.KindValidate}
		})
	}
	ids := r.publishPartitions("f", 4*partitions, 100)
	first := judged("even")
	r.drainedLanes(20 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	for i := range partitions {
		if err := r.js.DeleteConsumer(t.Context(), "IN", fmt.Sprintf("lane-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r.lanes()
	for _, name := range []string{"OUT", "DEAD"} {
		s, err := r.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	second := judged("odd")
	r.drainedLanes(20 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	odd, even := split(ids)
	r.wantOnce("OUT", odd)
	r.wantOnce("DEAD", even)
}

// TestRulesChangeAfterAReconnect: other rules are taken up when all before them is acknowledged, also when
// that was in hand during a reconnect. So a kill has nothing of it judged by the new ones.
func TestRulesChangeAfterAReconnect(t *testing.T) {
	r := newRig(t)
	gate, holding := make(chan struct{}), atomic.Bool{}
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	by := func(rule string) func(*config.StageConfig, *engine.Options) {
		return func(c *config.StageConfig, o *engine.Options) {
			o.Factory = &judges{kind: config.KindValidate, stateful: true, process: func() {
				if holding.Load() {
					<-gate
				}
			}}
			*c = *ruled(*c, rule)
		}
	}
	var before, after []string
	publish := func(ids *[]string, id string) {
		*ids = append(*ids, id)
		r.send(nats.NewMsg("in.raw.x"), []byte(eventJSON(id)))
	}
	for i := range 100 {
		publish(&before, fmt.Sprintf("a.%d", 2*i))
	}
	e := r.run(&testStage{}, by("even"))
	r.wantDrained(10 * time.Second)
	holding.Store(true)
	for i := range 5 {
		publish(&before, fmt.Sprintf("held.%d", 2*i))
	}
	eventually(t, 10*time.Second, func() string { return cmp.Diff(5, e.Stats().InFlightMessages) })
	if err := e.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string { return cmp.Diff(uint64(5), r.consumerInfo().Delivered.Consumer) })
	open()
	for i := range 10 {
		publish(&before, fmt.Sprintf("b.%d", 2*i))
		time.Sleep(100 * time.Millisecond)
	}
	if err := e.Reload(ruled(*stageConfig(), "odd")); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		publish(&after, fmt.Sprintf("c.%d", 2*i+1))
		time.Sleep(100 * time.Millisecond)
	}
	e.nc.Close() // killed
	_ = e.end()
	second := r.run(&testStage{}, by("odd"))
	r.wantDrained(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantJudged(slices.Concat(before, after))
}

// TestWhatReloadRefuses changes nothing.
func TestWhatReloadRefuses(t *testing.T) {
	for name, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			f := &judges{kind: config.KindValidate, stateful: stateful}
			var c config.StageConfig
			e := r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
				c = *cfg
				*cfg = *ruled(c, "even")
				o.Factory = f
			})
			if err := e.Reload(ruled(c, "prime")); err == nil || errors.Is(err, engine.ErrRestart) || !strings.Contains(err.Error(), `validate.rules[0].expression: "prime"`) {
				t.Errorf("a bad rule: got %v", err)
			}
			larger := ruled(c, "odd")
			larger.Batch.MaxEvents++
			if err := e.Reload(larger); !errors.Is(err, engine.ErrRestart) {
				t.Errorf("larger frames: got %v, want ErrRestart", err)
			}
			ids := r.publishFrames("f", 4, 25)
			r.wantDrained(20 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			odd, even := split(ids)
			r.wantOnce("OUT", even)
			r.wantOnce("DEAD", odd)
		})
	}
}

// TestStageWithoutReload: its rules take a restart.
func TestStageWithoutReload(t *testing.T) {
	r := newRig(t)
	var c config.StageConfig
	e := r.run(&testStage{}, func(cfg *config.StageConfig, _ *engine.Options) { c = *cfg })
	if err := e.Reload(ruled(c, "odd")); !errors.Is(err, engine.ErrRestart) {
		t.Errorf("got %v, want ErrRestart", err)
	}
	if err := e.Reload(&c); err != nil {
		t.Errorf("the same config: %v", err)
	}
}

// TestReloadWhileItStarts waits until the stage has started, and counts.
func TestReloadWhileItStarts(t *testing.T) {
	r := newRig(t)
	starting, release := make(chan struct{}), make(chan struct{})
	f := &judges{kind: config.KindValidate, start: func() { close(starting); <-release }}
	var c config.StageConfig
	e := r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
		c = *cfg
		*cfg = *ruled(c, "even")
		o.Factory = f
	})
	<-starting
	reloaded := make(chan error, 1)
	go func() { reloaded <- e.Reload(ruled(c, "odd")) }()
	select {
	case err := <-reloaded:
		t.Fatalf("reloaded before it has started: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	ids := r.publishFrames("f", 4, 25)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	odd, even := split(ids)
	r.wantOnce("OUT", odd)
	r.wantOnce("DEAD", even)
	if f.started.Load() != 1 || f.stopped.Load() != 1 {
		t.Errorf("%d started and %d stopped, want 1 of each", f.started.Load(), f.stopped.Load())
	}
}
