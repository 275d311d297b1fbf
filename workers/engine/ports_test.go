package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// routing gives the stage two more ports, orders and payments, in a stream of their own.
func (r *rig) routing(more func(*config.StageConfig)) func(*config.StageConfig, *engine.Options) {
	r.stream("SIDE", "side.>", nil)
	return func(c *config.StageConfig, _ *engine.Options) {
		c.Partitions = 1
		for _, port := range []string{"orders", "payments"} {
			c.Outputs[port] = config.Output{Stream: "SIDE", Subject: "side." + port, Format: config.FormatFrame}
		}
		if more != nil {
			more(c)
		}
	}
}

// port is the set of a port of that stage.
func (r *rig) port(name string) stage.Ports {
	c := stageConfig()
	r.routing(nil)(c, nil)
	p, err := stage.Settings{Config: c}.Port(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// on returns the ids of the events on each subject of a stream, without its partition.
func (r *rig) on(stream string) map[string][]string {
	found := map[string][]string{}
	for _, m := range r.stored(stream) {
		subject := m.Subject()[:strings.LastIndex(m.Subject(), ".")]
		found[subject] = append(found[subject], idsOf(r.t, m)...)
	}
	return found
}

// TestEventOnSeveralPorts: a stage sends events to one port, to another or to both. Each is there once on each, in order.
func TestEventOnSeveralPorts(t *testing.T) {
	r := newRig(t)
	orders, payments := r.port("orders"), r.port("payments")
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			switch id := b.Events[i].ID; {
			case strings.HasSuffix(id, "0"):
				b.Emit(i, orders)
			case strings.HasSuffix(id, "1"):
				b.Emit(i, orders|payments)
			case strings.HasSuffix(id, "2"):
				b.Emit(i, stage.Out|payments|stage.Insights)
			}
		}
		return nil
	}}
	want := map[string][]string{}
	for _, id := range append(r.publishFrames("f", 10, 40), r.publish("g", 40)...) {
		on := map[byte][]string{'0': {"side.orders"}, '1': {"side.orders", "side.payments"}, '2': {"out.validated", "side.payments", "insights"}}[id[len(id)-1]]
		if on == nil {
			on = []string{"out.validated"}
		}
		for _, subject := range on {
			want[subject] = append(want[subject], id)
		}
	}
	e := r.run(s, r.routing(nil))
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	got := r.on("SIDE")
	got["out.validated"] = r.on("OUT")["out.validated"]
	_, got["insights"] = r.count("INSIGHTS")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids by subject (-want +got):\n%s", diff)
	}
	stats := e.Stats()
	if n := int64(440); stats.In != n || stats.Emitted != n || stats.Out != int64(len(want["out.validated"])) {
		t.Errorf("stats: %+v", stats)
	}
	counts := map[string]int64{"orders": int64(len(want["side.orders"])), "payments": int64(len(want["side.payments"])), "insights": int64(len(want["insights"]))}
	if diff := cmp.Diff(counts, stats.Ports); diff != "" {
		t.Errorf("events by port (-want +got):\n%s", diff)
	}
}

// TestPortsThatDiffer kills a worker that has stored an event on one of its two ports. The next worker decides otherwise: the event comes
// to the second port all the same, and to no other.
func TestPortsThatDiffer(t *testing.T) {
	quick := func(c *config.StageConfig) { c.DrainTimeout = config.Duration(100 * time.Millisecond) }
	for name, second := range map[string]func(b *stage.Batch, i int, orders stage.Ports){
		"to one":          func(b *stage.Batch, i int, orders stage.Ports) { b.Emit(i, orders) },
		"to out":          func(b *stage.Batch, i int, _ stage.Ports) { b.Emit(i, stage.Out) },
		"to the dead":     func(b *stage.Batch, i int, _ stage.Ports) { b.DeadLetter(i, "test", errors.New("away")) },
		"is left out":     func(b *stage.Batch, i int, _ stage.Ports) { b.Filter(i) },
		"to both as well": func(b *stage.Batch, i int, orders stage.Ports) { b.Emit(i, orders|stage.Out) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			orders := r.port("orders")
			change := r.routing(quick)
			r.stream("OUT", "out.>", func(s *jetstream.StreamConfig) { s.MaxMsgs = 1 })
			r.send(nats.NewMsg("out.filler"), []byte(eventJSON("foreign.0")))
			ids := r.publishFrames("f", 1, 4)
			first := r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
				for i := range b.Events {
					b.Emit(i, orders|stage.Out)
				}
				return nil
			}}, change)
			eventually(t, 10*time.Second, func() string {
				if len(r.stored("SIDE")) == 0 {
					return "nothing is stored on SIDE"
				}
				return ""
			})
			first.nc.Close()
			_ = first.end()
			r.stream("OUT", "out.>", nil)
			e := r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
				for i := range b.Events {
					second(b, i, orders)
				}
				return nil
			}}, change)
			r.wantDrained(10 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("SIDE", ids)
			r.wantOnce("OUT", append(ids, "foreign.0"))
			r.wantOnce("DEAD", nil)
		})
	}
}

// TestNewEventsFollowTheirParents: what a stage makes of an event leaves right behind it, also for a stage that is chained to it, and once,
// though the stage asks for the event again.
func TestNewEventsFollowTheirParents(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	tries := map[string]int{}
	made := func(id string) *eventv1.Event {
		return &eventv1.Event{Id: id, Source: "s", Type: "t", PartitionKey: "one"}
	}
	a := chained{config.KindValidate, &testStage{process: func(_ context.Context, b *stage.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Events {
			id := strings.Clone(b.Events[i].ID)
			tries[id]++
			b.Produce(stage.NoParent, stage.Insights, made(id+" at large"))
			b.Produce(i, stage.Out, made(id+" a"))
			switch {
			case strings.HasSuffix(id, "3") && tries[id] == 1:
				b.Retry(i, errors.New("not yet"))
				continue
			case strings.HasSuffix(id, "4"):
				b.Filter(i)
			}
			b.Produce(i, stage.Out, made(id+" b"))
		}
		return nil
	}}}
	var want []string
	for _, id := range append(r.publishFrames("f", 3, 10), r.publish("g", 30)...) {
		if !strings.HasSuffix(id, "4") {
			want = append(want, id)
		}
		want = append(want, id+" a", id+" b")
	}
	chain := chained{config.KindEnrich, &testStage{}}
	r.stream("OUT2", "out2.>", nil)
	e := r.run(a.testStage, func(c *config.StageConfig, o *engine.Options) {
		c.Partitions = 1
		o.Registry = stage.NewRegistry(a, chain)
		next := member("b", "validate/out", config.KindEnrich, "OUT2")
		next.Partitions = 1
		c.Chain = []config.StageConfig{next}
	})
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"OUT", "OUT2"} {
		_, got := r.count(stream)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stream, diff)
		}
	}
}

// TestPortThatDrops: while the stream of a port that may drop is full, the other ports go on and the events that are left out are counted.
func TestPortThatDrops(t *testing.T) {
	r := newRig(t)
	orders, insights := r.port("orders"), stage.Insights
	change := r.routing(func(c *config.StageConfig) {
		for _, port := range []string{"orders", config.PortInsights} {
			out := c.Outputs[port]
			out.OnFull = config.Drop
			c.Outputs[port] = out
		}
	})
	both := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Emit(i, stage.Out|orders|insights)
		}
		return nil
	}}
	for stream, subjects := range map[string]string{"SIDE": "side.>", "INSIGHTS": "insights.>"} {
		r.stream(stream, subjects, func(s *jetstream.StreamConfig) { s.MaxMsgs = 1 })
		r.send(nats.NewMsg(strings.Replace(subjects, ">", "filler", 1)), []byte(eventJSON("foreign.0")))
	}
	e := r.run(both, change)
	first := r.publishFrames("f", 20, 4)
	r.wantDrained(10 * time.Second)
	for stream, subjects := range map[string]string{"SIDE": "side.>", "INSIGHTS": "insights.>"} {
		r.stream(stream, subjects, nil)
	}
	second := r.publishFrames("g", 20, 4)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", append(first, second...))
	r.wantOnce("SIDE", append(second, "foreign.0"))
	r.wantOnce("INSIGHTS", append(second, "foreign.0"))
	stats := e.Stats()
	want := map[string]int64{"orders": 80, "insights": 80}
	if diff := cmp.Diff(want, stats.Dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, stats.Ports); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}
