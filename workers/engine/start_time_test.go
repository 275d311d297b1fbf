package engine_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
)

// TestStageThatBeginsAtATime: the state of a lane begins there too, whatever its horizon: of its first worker, of one that takes over in the
// middle and replays input, and of one whose consumer was made again. Each event is stored once.
func TestStageThatBeginsAtATime(t *testing.T) {
	k := newKept(t)
	k.publish("old", 10)
	time.Sleep(20 * time.Millisecond) // the times of messages are those of the clock of the server, which is ours
	start := time.Now()
	consumer := func() {
		t.Helper()
		if err := k.js.DeleteConsumer(t.Context(), "IN", "stage"); err != nil {
			t.Fatal(err)
		}
		k.consumer(func(c *jetstream.ConsumerConfig) {
			c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
		})
	}
	// Without a bucket there are no snapshots, so each worker replays the input.
	work := func() *running {
		return k.start(func(c *config.StageConfig, _ *engine.Options) { c.Leases, c.Inputs[0].Start = "", start })
	}
	consumer()
	first := work() // while nothing is stored from the time on, it replays nothing
	k.feed("a", 10)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.nc.Request("$JS.API.CONSUMER.RESET.IN.stage", []byte(`{"seq":15}`), 2*time.Second); err != nil { // as if it had been killed there
		t.Fatal(err)
	}
	second := work()
	k.feed("b", 10)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	k.wantNumbered()
	consumer()
	third := work()
	k.feed("c", 10)
	if err := third.end(); err != nil {
		t.Fatal(err)
	}
	k.wantNumbered()
}
