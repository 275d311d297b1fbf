package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// secondInput adds a second input to the stage of the rig.
func (r *rig) secondInput() func(*config.StageConfig) {
	r.t.Helper()
	r.stream("IN2", "in2.>", nil)
	if _, err := r.js.CreateConsumer(r.t.Context(), "IN2", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckAllPolicy}); err != nil {
		r.t.Fatal(err)
	}
	return func(c *config.StageConfig) {
		c.Inputs = append(c.Inputs, config.Input{From: "other/out", Stream: "IN2", Durable: "stage", Subject: "in2.>"})
	}
}

// TestInputsHaveOneOrder kills workers of a stage with state and two inputs, whose acknowledgements are lost for one of them, or
// that are given one input later than the other: each event is counted in the order in which it was stored.
func TestInputsHaveOneOrder(t *testing.T) {
	r := newRig(t)
	second := r.secondInput()
	f := &counting{}
	var want []string
	n := 0
	publish := func(count int) {
		for range count {
			id := fmt.Sprint("e", n)
			subject := []string{"in.raw.x", "in2.x"}[n*n%7%2] // now and then a few of one input in a row
			r.send(nats.NewMsg(subject), []byte(eventJSON(id)))
			n++
			want = append(want, fmt.Sprintf("%s=%d", id, n))
		}
	}
	for round := range 4 {
		publish(40)
		if round == 2 { // one input comes late
			if _, err := r.js.PauseConsumer(t.Context(), "IN", "stage", time.Now().Add(1500*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		e := r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
			second(c)
			o.Factory, c.DrainTimeout = f, config.Duration(100*time.Millisecond)
			c.Batch.MaxEvents = 8
		})
		eventually(t, 20*time.Second, func() string { // the last events wait for the other input
			if len(r.stored("OUT")) == 0 || e.Stats().In < 20 {
				return "not yet under way"
			}
			return ""
		})
		e.nc.Close()
		_ = e.end()
		if round%2 == 0 { // the server forgets acknowledgements of one input
			c, err := r.js.Consumer(t.Context(), "IN2", "stage")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.nc.Request("$JS.API.CONSUMER.RESET.IN2.stage", fmt.Appendf(nil, `{"seq":%d}`, max(c.CachedInfo().AckFloor.Stream/2, 1)), 2*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) { second(c); o.Factory = f })
	eventually(t, 30*time.Second, func() string {
		out, _ := r.count("OUT")
		return cmp.Diff(len(want), len(out))
	})
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

// pairing tells X when it has seen a1, and Y when it has seen both a0 and b0, in which order ever.
type pairing struct {
	block func(id string) // called with each event
}

type pair struct {
	p    pairing
	seen map[string]bool
}

func (p pairing) Kind() config.Kind                       { return config.KindCorrelate }
func (p pairing) Stateful(*config.StageConfig) bool       { return true }
func (p pairing) New(stage.Settings) (stage.Stage, error) { return &pair{p, map[string]bool{}}, nil }
func (*pair) Start(context.Context) error                 { return nil }
func (*pair) Shutdown(context.Context) error              { return nil }
func (*pair) Horizon() time.Duration                      { return time.Hour }
func (s *pair) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		id := strings.Clone(b.Events[i].ID)
		if s.p.block != nil {
			s.p.block(id)
		}
		s.seen[id] = true
		insight := func(id string) {
			b.Produce(stage.NoParent, stage.Insights, &eventv1.Event{Id: id, Source: "s", Type: "t", Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: id}}})
		}
		if s.seen["a0"] && s.seen["b0"] && !s.seen["Y"] {
			s.seen["Y"] = true
			insight("Y")
		}
		if id == "a1" {
			insight("X")
		}
	}
	return nil
}

// TestInsightOfTwoInputs: a worker is killed when it has told X of one input and has an event of the other in hand, and the
// acknowledgements are lost. Whatever order the next one gets them in, X and Y are told once.
func TestInsightOfTwoInputs(t *testing.T) {
	r := newRig(t)
	second := r.secondInput()
	with := func(p pairing) func(*config.StageConfig, *engine.Options) {
		return func(c *config.StageConfig, o *engine.Options) {
			second(c)
			o.Factory, c.DrainTimeout = p, config.Duration(100*time.Millisecond)
		}
	}
	blocked, gate := make(chan struct{}), make(chan struct{})
	first := r.run(&testStage{}, with(pairing{block: func(id string) {
		if id == "b0" {
			close(blocked)
			<-gate
		}
	}}))
	r.publish("a", 2)
	eventually(t, 20*time.Second, func() string { return cmp.Diff([]string{"X"}, r.insightIDs()) })
	r.send(nats.NewMsg("in2.x"), []byte(eventJSON("b0")))
	<-blocked
	first.nc.Close()
	time.AfterFunc(300*time.Millisecond, func() { close(gate) })
	_ = first.end()
	if _, err := r.nc.Request("$JS.API.CONSUMER.RESET.IN.stage", []byte(`{"seq":1}`), 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.PauseConsumer(t.Context(), "IN", "stage", time.Now().Add(1500*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	e := r.run(&testStage{}, with(pairing{}))
	eventually(t, 20*time.Second, func() string { return cmp.Diff([]string{"X", "Y"}, r.insightIDs()) })
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) insightIDs() (ids []string) {
	counts, _ := r.count("INSIGHTS")
	for id, n := range counts {
		ids = append(ids, slices.Repeat([]string{id}, n)...)
	}
	slices.Sort(ids)
	return ids
}

// TestInputWithABacklog: a stage with state gets a second input that has a backlog from before most of the first one. What of
// the first is more than the lane may have in hand is not taken again.
func TestInputWithABacklog(t *testing.T) {
	r := newRig(t)
	second := r.secondInput()
	old := []string{"old0", "old1"}
	for _, id := range old {
		r.send(nats.NewMsg("in2.x"), []byte(eventJSON(id)))
	}
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint("e", i))
		r.send(nats.NewMsg("in.raw.x"), []byte(strings.Replace(eventJSON(ids[i]), "{", `{"message":"`+randomText(20_000)+`",`, 1)))
	}
	f := &testStage{stateful: true}
	first := r.run(f, nil)
	r.wantDrained(20 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	e := r.run(f, func(c *config.StageConfig, _ *engine.Options) { second(c); c.Batch.MaxInFlightBytes = 1 << 20 })
	eventually(t, 20*time.Second, func() string {
		out, _ := r.count("OUT")
		return cmp.Diff(len(ids)+len(old), len(out))
	})
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", append(ids, old...))
}
