package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// service is what the stages of these tests ask: up or away.
type service struct {
	away atomic.Bool
	// awayFor is the part of live events, in percent, that are sent aside though it is up; their answers differ for events of one key.
	awayFor atomic.Int64
	// holds says that it answers nothing that is replayed; undecided, that its breaker is still closed then.
	holds, undecided atomic.Bool
}

// client is a stage that asks a service, answers after a while, and sends aside what it has no answer to.
type client struct {
	testStage
	of *service
}

func (s *client) New(stage.Settings) (stage.Stage, error) { return s, nil }
func (s *client) InFlight() int                           { return 16 }

func (s *client) Begin(ctx context.Context, b *stage.Batch, done func(error)) {
	go func() {
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		done(s.Process(ctx, b))
	}()
}

func (s *client) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		if b.Replayed && s.of.undecided.Load() {
			b.Retry(i, stage.Unavailable(errors.New("the service does not answer")))
			continue
		}
		if b.Replayed && s.of.holds.Load() || s.of.away.Load() || !b.Replayed && rand.Int64N(100) < s.of.awayFor.Load() {
			b.Overflow(i, errors.New("the service is away"))
			continue
		}
		b.Events[i].Set(event.AttributesMap, "answer", event.StringValue(b.Events[i].ID))
	}
	return nil
}

// overflows makes the streams of a stage with lanes and an overflow, and returns its config.
func (r *rig) overflows() func(*config.StageConfig, *engine.Options) {
	r.t.Helper()
	r.lanes()
	in := config.Input{From: "validate/overflow", Stream: "OUT", Durable: "aside", Subject: "out.validated.overflow", Repartitioned: true, Overflow: true}
	for lane := range partitions {
		if _, err := r.js.CreateConsumer(ctxOf(r.t), "OUT", jetstream.ConsumerConfig{
			Durable: in.Consumer(lane, partitions), FilterSubject: in.Filter(lane, partitions),
			AckPolicy: jetstream.AckAllPolicy, AckWait: 5 * time.Minute, MaxAckPending: 1000, MaxDeliver: -1,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	return func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		c.DrainTimeout = config.Duration(500 * time.Millisecond) // one that is killed would wait for longer
		c.Breaker = &config.Breaker{WhenOpen: config.WhenOpenOverflow}
		c.Inputs = append(c.Inputs, in)
		out := c.Outputs[config.PortOut]
		out.Repartition = true
		c.Outputs[config.PortOut] = out
		out.Subject += "." + config.PortOverflow
		c.Outputs[config.PortOverflow] = out
	}
}

func (r *rig) client(s *service, change func(*config.StageConfig, *engine.Options)) *running {
	r.t.Helper()
	c := &client{of: s}
	return r.run(&c.testStage, func(to *config.StageConfig, o *engine.Options) {
		change(to, o)
		o.Factory = c
	})
}

// keyed publishes events of some keys, in rounds: the nth event of key k has the id <k>.<n>.
type keyed struct {
	r    *rig
	keys int
	next map[int]int
}

func (r *rig) keyed(keys int) *keyed { return &keyed{r, keys, map[int]int{}} }

func (k *keyed) name(key int) string { return "key-" + strconv.Itoa(key) }

// publish stores frames with some events of each key of a partition.
func (k *keyed) publish(rounds, each int) {
	k.r.t.Helper()
	for range rounds {
		var lines [partitions]strings.Builder
		for key := range k.keys {
			p := event.Partition(k.name(key), partitions)
			for range each {
				fmt.Fprintf(&lines[p], `{"id":"%s.%d","source":"test","type":"test.made","partitionkey":%q}`+"\n", k.name(key), k.next[key], k.name(key))
				k.next[key]++
			}
		}
		for p := range lines {
			if lines[p].Len() > 0 {
				msg := nats.NewMsg(fmt.Sprintf("in.p.%d", p))
				msg.Header.Set("Content-Type", event.ContentTypeFrame)
				k.r.send(msg, k.r.frame(lines[p].String()))
			}
		}
	}
}

// want checks that each event left on port out once, in the order of its key.
func (k *keyed) want() {
	k.r.t.Helper()
	last, lost := map[string]int{}, 0
	for _, m := range k.r.stored("OUT") {
		if strings.HasPrefix(m.Subject(), "out.validated.overflow.") {
			continue
		}
		for _, id := range idsOf(k.r.t, m) {
			key, number, _ := strings.Cut(id, ".")
			n, err := strconv.Atoi(number)
			if err != nil {
				k.r.t.Fatal(err)
			}
			if want := last[key]; n != want {
				k.r.t.Errorf("event %s on %s stands where number %d of its key belongs", id, m.Subject(), want)
			}
			last[key] = n + 1
		}
	}
	for key, n := range k.next {
		lost += n - last[k.name(key)]
	}
	if lost > 0 {
		k.r.t.Errorf("%d events are lost", lost)
	}
}

// settled waits until lanes and replays have acknowledged all that is stored for them.
func (r *rig) settled(within time.Duration) {
	r.t.Helper()
	r.drainedLanes(within)
	eventually(r.t, within, func() string {
		for lane := range partitions {
			c, err := r.js.Consumer(ctxOf(r.t), "OUT", fmt.Sprintf("aside-%d", lane))
			if err != nil {
				return err.Error()
			}
			if i := c.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
				return fmt.Sprintf("%d messages of lane %d wait in the overflow, %d are in hand", i.NumPending, lane, i.NumAckPending)
			}
		}
		return ""
	})
}

// asideCount is how many events were ever sent aside.
func (r *rig) asideCount() (n int) {
	r.t.Helper()
	for _, m := range r.stored("OUT") {
		if strings.HasPrefix(m.Subject(), "out.validated.overflow.") {
			n += len(idsOf(r.t, m))
		}
	}
	return n
}

// TestOverflow: while the service is away events leave on the port at once, the worker is ready, and nothing waits before it; when it is back all come out,
// each once and in the order of its key.
func TestOverflow(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(40)
	e := r.client(s, overflows)
	k.publish(10, 5)
	r.settled(10 * time.Second)
	if n := r.asideCount(); n > 0 {
		t.Fatalf("%d events were sent aside though the service is up", n)
	}
	s.away.Store(true)
	k.publish(20, 5)
	r.drainedLanes(10 * time.Second)
	eventually(t, 5*time.Second, func() string {
		ok, text := e.Ready()
		if st := e.Stats(); !ok || st.Overflowed != 4000 || st.InOverflow == 0 || st.Lanes != partitions {
			return fmt.Sprintf("ready is %t, %q; %+v", ok, text, st)
		}
		return ""
	})
	s.away.Store(false)
	r.settled(20 * time.Second)
	k.publish(10, 5)
	r.settled(20 * time.Second)
	k.want()
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if n, st := r.asideCount(), e.Stats(); n != 4000 || st.In != st.Emitted+st.Overflowed || st.Emitted != 8000 {
		t.Errorf("%d events were sent aside; in %d, emitted %d, overflowed %d", n, st.In, st.Emitted, st.Overflowed)
	}
}

// TestOverflowByLot: the service answers some events of a key and not those before them; the order holds all the same, and what was sent aside carries no answer.
func TestOverflowByLot(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(200)
	s.awayFor.Store(2)
	e := r.client(s, overflows)
	for range 20 {
		k.publish(3, 2)
		time.Sleep(20 * time.Millisecond)
	}
	r.settled(30 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
	if n := r.asideCount(); n < 100 {
		t.Errorf("%d events were sent aside: too few to tell", n)
	}
	for _, m := range r.stored("OUT") {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			value, _ := events[i].Get(event.AttributesMap, "answer")
			answer := value.Text()
			if aside := strings.HasPrefix(m.Subject(), "out.validated.overflow."); aside != (answer == "") {
				t.Fatalf("an event on %s has the answer %q", m.Subject(), answer)
			}
		}
	}
}

// TestOtherKeysFlow: a key whose events wait in the overflow has new ones follow them, others leave at once.
func TestOtherKeysFlow(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(20)
	e := r.client(s, overflows)
	s.away.Store(true)
	k.publish(2, 5)
	r.drainedLanes(10 * time.Second)
	// From now on live events are answered, and replays are not.
	s.away.Store(false)
	s.holds.Store(true)
	k.keys = 40
	k.publish(5, 5)
	r.drainedLanes(10 * time.Second)
	out := map[string]int{}
	for _, m := range r.stored("OUT") {
		if !strings.HasPrefix(m.Subject(), "out.validated.overflow.") {
			for _, id := range idsOf(t, m) {
				key, _, _ := strings.Cut(id, ".")
				out[key]++
			}
		}
	}
	for key := range 40 {
		if want := 25 * (key / 20); out[k.name(key)] != want {
			t.Errorf("%d events of key %d are out, want %d", out[k.name(key)], key, want)
		}
	}
	s.holds.Store(false)
	r.settled(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
}

// TestBusyKeysComeBack: events of a few keys come all the time, faster than one is replayed; they leave at once again soon after the service is back.
func TestBusyKeysComeBack(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(8)
	e := r.client(s, overflows)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			k.publish(1, 2)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	defer stop()
	s.away.Store(true)
	eventually(t, 10*time.Second, func() string {
		if st := e.Stats(); st.Overflowed < 500 {
			return fmt.Sprintf("%d events were sent aside", st.Overflowed)
		}
		return ""
	})
	s.away.Store(false)
	back := time.Now()
	eventually(t, 20*time.Second, func() string { // nothing is sent aside for a while
		before := e.Stats()
		time.Sleep(300 * time.Millisecond)
		after := e.Stats()
		if after.Overflowed > before.Overflowed || after.Emitted == before.Emitted {
			return fmt.Sprintf("%d events were sent aside in 300 ms, %d emitted", after.Overflowed-before.Overflowed, after.Emitted-before.Emitted)
		}
		return ""
	})
	t.Logf("events leave at once again after %s", time.Since(back))
	stop()
	<-done
	r.settled(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
}

// TestOverflowWhileWorkersDie: three workers ask a service that comes and goes, and are killed while events are sent aside and while they are
// replayed: each event comes out once, in the order of its key.
func TestOverflowWhileWorkersDie(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(300)
	workers := []*running{r.client(s, overflows), r.client(s, overflows), r.client(s, overflows)}
	kill := func() {
		n := rand.IntN(len(workers))
		workers[n].nc.Close() // as kill -9 does
		_ = workers[n].end()
		workers[n] = r.client(s, overflows)
	}
	for round := range 8 {
		s.away.Store(round%2 == 0)
		s.awayFor.Store(int64(round % 3))
		for range 6 {
			k.publish(2, 1)
			time.Sleep(50 * time.Millisecond)
		}
		kill()
	}
	s.away.Store(false)
	s.awayFor.Store(0)
	r.settled(60 * time.Second)
	for _, w := range workers {
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
	}
	k.want()
	if n := r.asideCount(); n < 1000 {
		t.Errorf("%d events were sent aside: too few to tell", n)
	}
}

// TestNextWorkerFollows: a worker that takes over knows no keys; what comes follows what is in the overflow all the same.
func TestNextWorkerFollows(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(40)
	first := r.client(s, overflows)
	s.away.Store(true)
	k.publish(5, 5)
	r.drainedLanes(10 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	s.away.Store(false)
	k.publish(5, 5)
	second := r.client(s, overflows)
	r.settled(20 * time.Second)
	k.publish(5, 5)
	r.settled(20 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
}

// TestReadyOnceTheBreakerIsOpen: a replay that began while the breaker was closed holds, and the worker says so. Once the breaker is open, the
// replay waits as any other, and the worker is ready.
func TestReadyOnceTheBreakerIsOpen(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(8)
	e := r.client(s, overflows)
	s.away.Store(true)
	s.undecided.Store(true)
	k.publish(1, 2)
	eventually(t, 10*time.Second, func() string {
		if ok, why := e.Ready(); ok || !strings.Contains(why, "the service does not answer") {
			return fmt.Sprintf("ready: %t, %s", ok, why)
		}
		return ""
	})
	s.undecided.Store(false)
	eventually(t, 10*time.Second, func() string {
		if ok, why := e.Ready(); !ok {
			return why
		}
		return ""
	})
	s.away.Store(false)
	r.settled(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
}

// TestPacedReplay takes the time that its rate asks for.
func TestPacedReplay(t *testing.T) {
	r := newRig(t)
	overflows, s, k := r.overflows(), &service{}, r.keyed(40)
	e := r.client(s, func(c *config.StageConfig, o *engine.Options) {
		overflows(c, o)
		c.Breaker.ReplayRate = 800
	})
	s.away.Store(true)
	k.publish(20, 2)
	r.drainedLanes(10 * time.Second)
	s.away.Store(false)
	began := time.Now()
	r.settled(20 * time.Second)
	if took := time.Since(began); took < time.Second || took > 8*time.Second {
		t.Errorf("1600 events were replayed in %s, at 800 a second", took)
	}
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	k.want()
}
