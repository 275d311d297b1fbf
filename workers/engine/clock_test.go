package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// closers is a stage that tells of each event, in the second flush behind it, that it is over: as a
// window does.
type closers struct{}

func (closers) Kind() config.Kind                       { return config.KindValidate }
func (closers) Stateful(*config.StageConfig) bool       { return true }
func (closers) New(stage.Settings) (stage.Stage, error) { return &closer{map[string]int64{}}, nil }

type closer struct{ open map[string]int64 }

func (*closer) Start(context.Context) error    { return nil }
func (*closer) Shutdown(context.Context) error { return nil }
func (*closer) Horizon() time.Duration         { return time.Minute }

func (c *closer) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		c.open[strings.Clone(b.Events[i].ID)] = b.Now.Unix()
	}
	return nil
}

func (c *closer) Flush(_ context.Context, now time.Time, _ bool, b *stage.Batch) error {
	for id, at := range c.open {
		if now.Unix() >= at+2 {
			b.Produce(stage.NoParent, stage.Insights, &eventv1.Event{
				Id: "closed-" + id, Source: "test", Type: "test.closed", Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: id}},
			})
			delete(c.open, id)
		}
	}
	return nil
}

// wantClosed waits until these events are told to be over, and fails the test when one is told twice.
func (r *rig) wantClosed(ids ...string) {
	r.t.Helper()
	var want []string
	for _, id := range ids {
		want = append(want, "closed-"+id)
	}
	eventually(r.t, 20*time.Second, func() string {
		told, _ := r.count("INSIGHTS")
		for _, id := range want {
			if told[id] == 0 {
				return id + " was not told"
			}
		}
		return ""
	})
	r.wantOnce("INSIGHTS", want)
}

// TestClockThatJumps: with a stream time of its own, a stage is flushed when somebody asks for it, tick by tick, and by the wall clock never.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) {
		o.Factory, o.StreamTime = closers{}, func(time.Time) time.Time { return start }
	})
	if err := w.WaitStarted(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.publish("a", 1)
	r.wantDrained(10 * time.Second)
	flush := func(until time.Time, wants bool, told int) {
		t.Helper()
		made, err := w.FlushUntil(t.Context(), until)
		if err == nil {
			err = w.WaitIdle(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if all, _ := r.count("INSIGHTS"); made != wants || len(all) != told {
			t.Errorf("at %s: made something: %v, want %v; told: %v, want %d", until.Sub(start), made, wants, all, told)
		}
	}
	flush(start.Add(time.Second), false, 0)
	time.Sleep(3 * time.Second) // longer than a worker waits before it flushes an idle lane
	flush(start.Add(time.Second), false, 0)
	flush(start.Add(5*time.Minute), true, 1)
	flush(start.Add(5*time.Minute), false, 1)
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.FlushUntil(t.Context(), start.Add(time.Hour)); err == nil {
		t.Error("an engine that has stopped was flushed")
	}
}

// twoInputs has the stage read a second stream.
func (r *rig) twoInputs() func(*config.StageConfig, *engine.Options) {
	r.t.Helper()
	r.stream("IN2", "in2.>", nil)
	_, err := r.js.CreateConsumer(r.t.Context(), "IN2", jetstream.ConsumerConfig{Durable: "stage", AckPolicy: jetstream.AckAllPolicy})
	if err != nil {
		r.t.Fatal(err)
	}
	return func(c *config.StageConfig, o *engine.Options) {
		o.Factory = closers{}
		c.Inputs = append(c.Inputs, config.Input{From: "other/out", Stream: "IN2", Durable: "stage", Subject: "in2.>"})
	}
}

// TestStateOfTwoInputs: the inputs of a lane are replayed in the order in which their messages were stored, and
// from the beginning when a try fails in the middle. Else the times of the second one are over before its messages
// come, and are told again.
func TestStateOfTwoInputs(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"at once": false, "at the second try": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			two := r.twoInputs()
			first := r.run(&testStage{}, two)
			r.send(nats.NewMsg("in2.x"), []byte(eventJSON("b")))
			time.Sleep(1200 * time.Millisecond) // another second
			r.publish("a", 1)
			r.wantClosed("b", "a0")
			r.publish("c", 1)
			r.wantDrained(10 * time.Second)
			if err := first.end(); err != nil {
				t.Fatal(err)
			}
			if fails {
				r.stream("IN2", "in2.>", func(c *jetstream.StreamConfig) { c.AllowDirect = false })
			}
			second := r.run(&testStage{}, two)
			if fails {
				eventually(t, 10*time.Second, func() string {
					if _, why := second.Ready(); !strings.Contains(why, "rebuild the state from stream IN2") {
						return "the replay does not fail: " + why
					}
					return ""
				})
				r.stream("IN2", "in2.>", nil)
			}
			r.wantClosed("b", "a0", "c0")
			time.Sleep(time.Second) // for what is told too much
			if err := second.end(); err != nil {
				t.Fatal(err)
			}
			r.wantClosed("b", "a0", "c0")
		})
	}
}

// TestReplicaThatIsBehind: a replay that ends before the acknowledgement floor is not the whole state. A responder
// in place of the server's plays the replica that has not yet got the newest messages.
func TestReplicaThatIsBehind(t *testing.T) {
	r := newRig(t)
	f := &counting{}
	factory := func(_ *config.StageConfig, o *engine.Options) { o.Factory = f }
	r.publish("a", 5)
	first := r.run(&testStage{}, factory)
	r.wantDrained(10 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	r.stream("IN", "in.>", func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	behind, err := r.nc.Subscribe("$JS.API.DIRECT.GET.IN", func(m *nats.Msg) {
		answer := nats.NewMsg(m.Reply)
		answer.Header.Set("Status", "404")
		answer.Header.Set("Description", "Message Not Found")
		_ = m.RespondMsg(answer)
	})
	if err != nil {
		t.Fatal(err)
	}
	second := r.run(&testStage{}, factory)
	eventually(t, 10*time.Second, func() string {
		if _, why := second.Ready(); !strings.Contains(why, "replica") {
			return "nothing is said of the replica: " + why
		}
		return ""
	})
	if err := behind.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	r.stream("IN", "in.>", nil)
	r.publish("b", 1)
	r.wantDrained(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", []string{"a0=1", "a1=2", "a2=3", "a3=4", "a4=5", "b0=6"})
}

// moveFloor has the acknowledgement floor of the consumer stand at a message that it does not read, as the server does
// by itself when a consumer was quiet for its AckWait.
func (r *rig) moveFloor(stream, consumer string, to int) {
	r.t.Helper()
	request := fmt.Appendf(nil, `{"seq":%d}`, to+1)
	if _, err := r.nc.Request("$JS.API.CONSUMER.RESET."+stream+"."+consumer, request, 2*time.Second); err != nil {
		r.t.Fatal(err)
	}
	c, err := r.js.Consumer(r.t.Context(), stream, consumer)
	if err != nil || c.CachedInfo().AckFloor.Stream != uint64(to) {
		r.t.Fatalf("the floor is not where it was to be: %+v, %v", c, err)
	}
}

// TestFloorOfOthers: the floor of a quiet consumer with a filter moves on to messages that it does not read. What was
// told by the clock is not told again then, neither after a reconnect, which is no reason to begin
// anew, nor by the next worker.
func TestFloorOfOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.consumer(func(c *jetstream.ConsumerConfig) { c.FilterSubject = "in.raw.>" })
	filtered := func(c *config.StageConfig, o *engine.Options) {
		o.Factory = closers{}
		c.Inputs[0].Subject = "in.raw.>"
	}
	first := r.run(&testStage{}, filtered)
	r.publish("e", 1)
	r.wantDrained(10 * time.Second)
	r.send(nats.NewMsg("in.other.x"), []byte(eventJSON("foreign")))
	r.wantClosed("e0")
	r.moveFloor("IN", "stage", 2)
	if err := first.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	r.publish("f", 1)
	r.wantClosed("e0", "f0")
	if owners := r.owners("OUT", "INSIGHTS"); len(owners) != 1 {
		t.Errorf("the lane began anew: written by %v", owners)
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	r.send(nats.NewMsg("in.other.x"), []byte(eventJSON("foreign too")))
	r.moveFloor("IN", "stage", 4)
	second := r.run(&testStage{}, filtered)
	time.Sleep(3 * time.Second) // an idle lane is flushed once a second
	r.publish("g", 1)
	r.wantClosed("e0", "f0", "g0")
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
}

// sendTo stores an event for a lane.
func (r *rig) sendTo(lane int, id string) {
	r.t.Helper()
	m := nats.NewMsg(fmt.Sprintf("in.p.%d", lane))
	m.Header.Set("Content-Type", event.ContentTypeFrame)
	r.send(m, r.frame(eventJSON(id)))
}

// TestStateOfAQuietLane: the floor of a lane for which nothing comes may stand at the message of another lane. Its
// state is rebuilt all the same.
func TestStateOfAQuietLane(t *testing.T) {
	r := newRig(t)
	r.lanes()
	factory := func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		o.Factory = &counting{}
	}
	for lane := range partitions {
		r.sendTo(lane, fmt.Sprintf("first%d", lane))
	}
	first := r.run(&testStage{}, factory)
	r.drainedLanes(10 * time.Second)
	r.sendTo(1, "other")
	r.sendTo(2, "another")
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	r.moveFloor("IN", "lane-0", partitions+2)
	second := r.run(&testStage{}, factory)
	r.sendTo(0, "last")
	r.drainedLanes(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantIn("OUT", []string{"first0=1", "last=2"})
}
