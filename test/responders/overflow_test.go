package responders

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/event"
)

const overflowing = `apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {namespace: default, name: p}
spec:
  partitions: 4
  stages:
  - {name: first, from: [ingress], validate: {}}
  - name: ask
    from: [first]
    gather: {nats: {subject: models.test}, timeout: 100ms, onIncomplete: Hold}
    breaker: {whenOpen: Overflow, window: 2s, openFor: 300ms}
`

// TestNothingIsLostInTheOverflow: workers are killed while responders are away and events go aside, and while they are back and events are
// replayed. In the end each event is in the output once, with its own answer, or in the dead letters once; the events of a key are in order, and
// the overflow is empty.
func TestNothingIsLostInTheOverflow(t *testing.T) {
	const rounds = 4
	r := startRig(t, overflowing)
	m := &moods{}
	lot := rand.New(rand.NewPCG(2, 7))
	startWorkers(t, r)
	for round := range rounds {
		before := stored(t, r, "overflow")
		publish(t, r, round*backlog/rounds, (round+1)*backlog/rounds)
		growsBy(t, r, "overflow", before, 1+lot.IntN(backlog/rounds/4))
		killOne(t, r, lot)
		if round == rounds-1 {
			break
		}
		before = stored(t, r, "out")
		leave := m.comes(t, r)
		growsBy(t, r, "out", before, 1+lot.IntN(backlog/rounds/4))
		killOne(t, r, lot)
		leave()
	}
	m.comes(t, r)
	if err := r.WaitDrained(t.Context()); err != nil {
		t.Fatal(err)
	}
	account(t, r)
	rigtest.CheckRights(t, r.Server())
	t.Logf("%d times an event was sent aside", stored(t, r, "overflow"))
}

// growsBy waits until a port holds so many events more than before.
func growsBy(t *testing.T, r *rig.Rig, port string, before, more int) {
	t.Helper()
	var now int
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if now = stored(t, r, port); now >= before+more {
			return
		}
	}
	t.Fatalf("port %s holds %d events after a minute, it held %d and %d more were to come", port, now, before, more)
}

// stored is how many events a port holds.
func stored(t *testing.T, r *rig.Rig, port string) (events int) {
	t.Helper()
	each(t, r, port, func(*event.Event, time.Time) { events++ })
	return events
}

// comes has a responder listen until it leaves.
func (m *moods) comes(t *testing.T, r *rig.Rig) (leave func()) {
	t.Helper()
	conn := m.respond(t, r)
	return conn.Close
}

var (
	outage = flag.Duration("outage", 3*time.Second, "how long nobody answers in TestOutage")
	rate   = flag.Int("rate", 500, "events a second of TestOutage")
)

// TestOutage has a steady flow ask a service that is gone for a while. Half of the events are of a few keys that come all the time, half of a key
// that comes once. Nothing is lost or out of order; events of other keys leave as fast as ever while the others are replayed; and
// the overflow is empty soon.
func TestOutage(t *testing.T) {
	paced := fmt.Sprintf("openFor: 2s, replay: {rate: %d}", *rate*8/5) // an outage is replayed in less time than it took
	r := startRig(t, strings.Replace(overflowing, "openFor: 300ms", paced, 1))
	m := &moods{}
	startWorkers(t, r)
	leave := m.comes(t, r)
	f := &flow{r: r, stop: make(chan struct{}), done: make(chan error, 1)}
	go f.run()
	sleep := func(d time.Duration) {
		select {
		case <-time.After(d):
		case err := <-f.done:
			t.Fatal(err)
		}
	}
	growsBy(t, r, "out", 0, 1)
	sleep(2 * time.Second) // until it is warm
	begins := time.Now()
	sleep(*outage)
	gone := time.Now()
	leave()
	sleep(*outage)
	m.comes(t, r)
	back := time.Now()
	empty := time.Time{}
	for empty.IsZero() {
		sleep(20 * time.Millisecond)
		if left := waiting(t, r); left == 0 {
			empty = time.Now()
		} else if time.Since(back) > 3*time.Minute {
			t.Fatalf("the overflow holds %d messages three minutes after the service is back", left)
		}
	}
	sleep(*outage)
	close(f.stop)
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	if err := r.WaitDrained(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.account(t, begins, gone, back, empty)
	rigtest.CheckRights(t, r.Server())
}

// waiting is how many messages wait in the overflow, or are in hand there.
func waiting(t *testing.T, r *rig.Rig) (left int) {
	t.Helper()
	for _, c := range r.Stage("ask").Consumers {
		if !strings.Contains(c.Durable, "overflow") {
			continue
		}
		consumer, err := r.JetStream().Consumer(t.Context(), c.Stream, c.Durable)
		if err != nil {
			t.Fatal(err)
		}
		left += int(consumer.CachedInfo().NumPending) + consumer.CachedInfo().NumAckPending
	}
	return left
}

// flow publishes events at a rate.
type flow struct {
	r    *rig.Rig
	n    int
	stop chan struct{}
	done chan error
}

const (
	flowEvery = 10 * time.Millisecond
	busyKeys  = 200
)

func (f *flow) run() {
	tick := time.NewTicker(flowEvery)
	defer tick.Stop()
	js := f.r.JetStream()
	for began := time.Now(); ; {
		select {
		case now := <-tick.C:
			var lines strings.Builder
			for due := int(now.Sub(began).Seconds() * float64(*rate)); f.n < due; f.n++ {
				key := "busy-" + strconv.Itoa(f.n/2%busyKeys)
				if f.n%2 == 1 {
					key = "once-" + strconv.Itoa(f.n)
				}
				fmt.Fprintf(&lines, `{"id":"%d","source":"test","type":"t","partitionkey":%q,"time":%q}`+"\n", f.n, key, now.UTC().Format(time.RFC3339Nano))
			}
			if lines.Len() > 0 {
				if _, err := js.PublishMsgAsync(message(lines.String()), jetstream.WithStallWait(5*time.Second)); err != nil {
					f.done <- err
					return
				}
			}
		case <-f.stop:
			select {
			case <-js.PublishAsyncComplete():
				f.done <- nil
			case <-time.After(10 * time.Second):
				f.done <- errors.New("the flow is not stored")
			}
			return
		}
	}
}

// account counts each event, and says how long events took to leave the stage.
func (f *flow) account(t *testing.T, begins, gone, back, empty time.Time) {
	t.Helper()
	seen, last := make([]int, f.n), inOrder{}
	var normal, later, meanwhile []time.Duration
	took := func(e *event.Event, stored time.Time) (published time.Time, d time.Duration) {
		published = time.Unix(0, e.Time)
		return published, stored.Sub(published)
	}
	each(t, f.r, "out", func(e *event.Event, stored time.Time) {
		n, err := strconv.Atoi(e.ID)
		if err != nil || n >= f.n {
			t.Fatalf("event %q", e.ID)
		}
		seen[n]++
		last.next(t, e, e.PartitionKey, n)
		if !strings.HasPrefix(e.PartitionKey, "once-") {
			return
		}
		switch at, d := took(e, stored); {
		case at.After(begins) && at.Before(gone.Add(-time.Second)):
			normal = append(normal, d)
		case at.After(back.Add(3*time.Second)) && at.Before(back.Add(3*time.Second+*outage)):
			later = append(later, d)
		}
	})
	aside := 0
	each(t, f.r, "overflow", func(e *event.Event, stored time.Time) {
		aside++
		if at, d := took(e, stored); at.After(gone.Add(time.Second)) && at.Before(back) {
			meanwhile = append(meanwhile, d)
		}
	})
	lost, doubled, dead := 0, 0, 0
	each(t, f.r, "dead-letter", func(e *event.Event, _ time.Time) {
		n, _ := strconv.Atoi(e.ID)
		seen[n]++
		dead++
	})
	for n := range seen {
		if seen[n] == 0 {
			lost++
		} else if seen[n] > 1 {
			doubled++
		}
	}
	if lost > 0 || doubled > 0 || aside == 0 {
		t.Errorf("%d events are lost, %d doubled; %d were sent aside", lost, doubled, aside)
	}
	said, err := json.Marshal(map[string]any{
		"events": f.n, "lost": lost, "doubled": doubled, "dead": dead, "aside": aside, "empty_after_s": empty.Sub(back).Seconds(),
		"p99_ms": map[string]float64{"before": p99(normal), "leaving_aside": p99(meanwhile), "other_keys_after": p99(later)},
		"p50_ms": map[string]float64{"before": p50(normal), "leaving_aside": p50(meanwhile), "other_keys_after": p50(later)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", said)
}

func p99(all []time.Duration) float64 { return quantile(all, 0.99) }
func p50(all []time.Duration) float64 { return quantile(all, 0.5) }

func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000
}
