package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// TestUndecodableMessageIsTakenAlone: of loose messages that are processed together, one that is no event does not have
// those before it processed one by one.
func TestUndecodableMessageIsTakenAlone(t *testing.T) {
	r := newRig(t)
	const n = 1000
	var ids []string
	for i := range n {
		body := "no event"
		if i%50 != 49 {
			ids = append(ids, fmt.Sprint("e", i))
			body = eventJSON(ids[len(ids)-1])
		}
		if err := r.nc.Publish("in.raw.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, func() string {
		if got := len(r.stored("IN")); got < n {
			return fmt.Sprintf("%d messages are stored", got)
		}
		return ""
	})
	var calls atomic.Int64
	e := r.run(&testStage{process: func(context.Context, *stage.Batch) error { calls.Add(1); return nil }}, func(c *config.StageConfig, _ *engine.Options) {
		c.Batch.MaxEvents = 1000
	})
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", ids)
	if got := len(r.stored("DEAD")); got != n/50 {
		t.Errorf("%d dead letters, want %d", got, n/50)
	}
	if got := calls.Load(); got > n/10 {
		t.Errorf("the stage was called %d times for %d events", got, len(ids))
	}
}

// TestMemoryOfOneLargeMessageIsGivenBack: a message of very many small events does not have the lane keep
// their room.
func TestMemoryOfOneLargeMessageIsGivenBack(t *testing.T) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	r := newRig(t)
	half := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if i%2 == 0 {
				b.Filter(i)
			}
		}
		return nil
	}}
	r.run(half, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 4096 })
	r.publish("warm", 10)
	r.wantDrained(10 * time.Second)
	before := heap()
	msg := nats.NewMsg("in.lines")
	msg.Header.Set("Content-Type", event.ContentTypeNDJSON)
	r.send(msg, []byte(strings.Repeat("{\"id\":\"1\"}\n", 65000)))
	r.wantDrained(60 * time.Second)
	r.publish("after", 20)
	r.wantDrained(10 * time.Second)
	if after := heap(); after-before > 16 {
		t.Errorf("the heap has %.1f MiB, and had %.1f before the message", after, before)
	}
}

// produces is a stage that makes these events of the first one that it gets.
func produces(port stage.Ports, made ...*eventv1.Event) *testStage {
	return &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if b.Events[i].ID == "e0" {
				for _, e := range made {
					b.Produce(stage.NoParent, port, e)
				}
			}
		}
		return nil
	}}
}

// TestInsightThatIsTooLargeIsStillOne: what is larger than max_payload loses what it lists, not its end.
func TestInsightThatIsTooLargeIsStillOne(t *testing.T) {
	r := newRig(t)
	insight := &eventv1.Insight{Title: "the node is out of memory", Summary: randomText(20_000)}
	for i := range 10_000 {
		insight.Evidence = append(insight.Evidence, &eventv1.Evidence{EventId: fmt.Sprint("evidence", i), Text: randomText(200)})
	}
	few := &eventv1.Insight{Title: "long evidence", Summary: "short"}
	for range 20 {
		few.Evidence = append(few.Evidence, &eventv1.Evidence{Text: randomText(100_000)})
	}
	made := func(id string, in *eventv1.Insight) *eventv1.Event {
		return &eventv1.Event{Id: id, Source: "s", Type: "t", SeverityNumber: 17, Signal: &eventv1.Event_Insight{Insight: in}}
	}
	vast := &eventv1.Event{Id: "vast", Source: "s", Type: "t", Subject: randomText(2 << 20)}
	e := r.run(produces(stage.Insights, made("many", insight), made("few", few), vast, made("last", &eventv1.Insight{Title: "small"})), nil)
	r.publish("e", 2)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", []string{"e0", "e1"})
	r.wantOnce("INSIGHTS", []string{"many", "few", "last"})
	for _, m := range r.stored("INSIGHTS") {
		var got struct {
			ID   string `json:"id"`
			Data struct {
				Insight struct {
					Title    string            `json:"title"`
					Evidence []json.RawMessage `json:"evidence"`
				} `json:"insight"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data(), &got); err != nil {
			t.Fatalf("%d bytes that are no JSON: %v", len(m.Data()), err)
		}
		if want := map[string]int{"many": 16}[got.ID]; len(got.Data.Insight.Evidence) != want || got.Data.Insight.Title == "" {
			t.Errorf("insight %s has title %q and %d pieces of evidence, want %d", got.ID, got.Data.Insight.Title, len(got.Data.Insight.Evidence), want)
		}
	}
	dead := r.stored("DEAD")
	if len(dead) != 1 || dead[0].Headers().Get("Millrace-Reason") != "too_large" {
		t.Fatalf("%d dead letters, want one of what has no smaller form", len(dead))
	}
	got := e.Stats()
	if got.In != 2 || got.DeadLettered != 0 || got.Produced[config.PortInsights] != 3 || got.Produced[config.PortDeadLetter] != 1 {
		t.Errorf("stats: %+v", got)
	}
}

// TestEventThatIsTooLargeAsACloudEventIsDeadLettered: an event may be small in a frame and large as JSON.
func TestEventThatIsTooLargeAsACloudEventIsDeadLettered(t *testing.T) {
	r := newRig(t)
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Emit(i, stage.Insights)
		}
		return nil
	}}
	d := decode.New(decode.Limits{})
	events, _ := d.Decode(nil, decode.Message{Data: []byte(eventJSON("controls"))})
	events[0].AddAttribute("k", event.StringValue(strings.Repeat("\x01", 400_000)))
	msg := nats.NewMsg("in.frames")
	msg.Header.Set("Content-Type", event.ContentTypeFrame)
	r.send(msg, frame.Append(nil, frame.Header{}, &events[0]))
	r.publish("small", 1)
	e := r.run(s, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("INSIGHTS", []string{"small0"})
	r.wantOnce("DEAD", []string{"controls"})
	if got := e.Stats(); got.In != 2 || got.Emitted != 1 || got.DeadLettered != 1 || got.DeadLetters["too_large"] != 1 {
		t.Errorf("stats: %+v", got)
	}
}

// TestHintsOfEachInput: an event that stages let grow over the limit of the ingress is read, whatever else the stage
// reads.
func TestHintsOfEachInput(t *testing.T) {
	for name, from := range map[string][2]string{"beside the ingress": {"enrich/out", "ingress"}, "of a port with another name": {"split/late", "split/late"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			two := r.twoInputs()
			d := decode.New(decode.Limits{})
			events, _ := d.Decode(nil, decode.Message{Data: []byte(eventJSON("grown"))})
			events[0].AddResource("k", strings.Repeat("x", 1<<20))
			for _, subject := range []string{"in.frames", "in2.frames"} {
				msg := nats.NewMsg(subject)
				msg.Header.Set("Content-Type", event.ContentTypeFrame)
				r.send(msg, frame.Append(nil, frame.Header{}, &events[0]))
			}
			e := r.run(&testStage{}, func(c *config.StageConfig, o *engine.Options) {
				factory := o.Factory
				two(c, o)
				o.Factory, c.Inputs[0].From, c.Inputs[1].From = factory, from[0], from[1]
			})
			want := map[bool]int{false: 1, true: 2}[from[0] == from[1]]
			eventually(t, 10*time.Second, func() string {
				if out, dead := len(r.stored("OUT")), len(r.stored("DEAD")); out != want || dead != 2-want {
					return fmt.Sprintf("%d events and %d dead letters, want %d and %d", out, dead, want, 2-want)
				}
				return ""
			})
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			if dead := r.stored("DEAD"); len(dead) > 0 && !bytes.Contains([]byte(dead[0].Headers().Get("Millrace-Stream")), []byte("IN2")) {
				t.Errorf("the event of stream %s is dead", dead[0].Headers().Get("Millrace-Stream"))
			}
		})
	}
}
