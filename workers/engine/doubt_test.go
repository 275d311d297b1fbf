package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// deciding sends events to the dead letters whose id it is given, and the others on.
func deciding(dead ...string) *testStage {
	return &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			for _, id := range dead {
				if b.Events[i].ID == id {
					b.DeadLetter(i, "test", errors.New("the service is away"))
				}
			}
		}
		return nil
	}}
}

// TestVerdictThatDiffers kills a worker that has stored one of the outputs of a step and not yet the other. The next worker
// decides otherwise. Each event is stored once.
func TestVerdictThatDiffers(t *testing.T) {
	quick := func(c *config.StageConfig, _ *engine.Options) {
		c.DrainTimeout, c.Partitions = config.Duration(100*time.Millisecond), 1
	}
	for name, c := range map[string]struct {
		full          string // the stream that takes nothing while the first worker is at it
		first, second *testStage
	}{
		"dead, then fine":                       {"DEAD", deciding("f0.0"), deciding()},
		"dead, then fine, of several":           {"DEAD", deciding("f0.0", "f0.2", "f0.3"), deciding("f0.3")},
		"fine, then dead":                       {"OUT", deciding("f0.0"), deciding("f0.0", "f0.1")},
		"all fine, then the stored one is dead": {"DEAD", deciding("f0.0"), deciding("f0.1", "f0.2")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			subject := map[string]string{"DEAD": "dead.>", "OUT": "out.>"}[c.full]
			r.stream(c.full, subject, func(s *jetstream.StreamConfig) { s.MaxMsgs = 1 })
			r.send(nats.NewMsg(strings.Replace(subject, ">", "filler", 1)), []byte(eventJSON("foreign.0")))
			ids := r.publishFrames("f", 1, 4)
			other := map[string]string{"DEAD": "OUT", "OUT": "DEAD"}[c.full]
			first := r.run(c.first, quick)
			eventually(t, 10*time.Second, func() string {
				if len(r.stored(other)) == 0 {
					return "nothing is stored on " + other
				}
				return ""
			})
			first.nc.Close()
			_ = first.end()
			r.stream(c.full, subject, nil)
			second := r.run(c.second, quick)
			r.wantDrained(10 * time.Second)
			if err := second.end(); err != nil {
				t.Fatal(err)
			}
			found := map[string]int{}
			for _, stream := range []string{"OUT", "DEAD"} {
				counts, _ := r.count(stream)
				for id, n := range counts {
					found[id] += n
				}
			}
			for _, id := range ids {
				if found[id] != 1 {
					t.Errorf("%s is stored %d times", id, found[id])
				}
			}
		})
	}
}

// TestNewEventsOfLooseMessages: a stage without state makes a new event of each, in batches that differ between two tries.
// Each is stored once.
func TestNewEventsOfLooseMessages(t *testing.T) {
	r := newRig(t)
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "copy-" + strings.Clone(b.Events[i].ID), Source: "s", Type: "t", PartitionKey: "one"})
			b.Filter(i)
		}
		return nil
	}}
	var want []string
	for _, id := range r.publish("a", 20) {
		want = append(want, "copy-"+id)
	}
	for round, size := range []int{10, 7, 20} {
		r.consumer(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = size })
		if _, err := r.nc.Request("$JS.API.CONSUMER.RESET.IN.stage", []byte(`{"seq":1}`), 2*time.Second); err != nil {
			t.Fatal(err)
		}
		e := r.run(s, func(c *config.StageConfig, _ *engine.Options) {
			c.Batch.Linger = config.Duration(50 * time.Millisecond)
		})
		r.wantDrained(10 * time.Second)
		if err := e.end(); err != nil {
			t.Fatal(fmt.Sprint("round ", round, ": "), err)
		}
	}
	r.wantOnce("OUT", want)
}
