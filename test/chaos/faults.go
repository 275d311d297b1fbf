package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/workers/config"
)

// fault is one thing that goes wrong under load.
type fault struct {
	name string
	// seeds are those of the runs; each has an input of its own.
	seeds []uint64
	// workers of each stage when it begins; 0 = 1.
	workers int
	// events and rate (a second) are those of the load; 0 = 20,000 and 2,000.
	events, rate int
	// calm is how long a partition may stand still at most; 0 = it is reported alone.
	calm time.Duration
	// prepare changes the input.
	prepare func(in *input)
	// judged says that the rules of validate change: a valid event may be a dead letter instead.
	judged bool
	// inject does the damage, and mends what the operator would mend. nil = nothing is done.
	inject func(ctx context.Context, w *world) error
}

// faults are all of them. Seeds differ: an event that was seen before would be a duplicate.
func faults() []fault {
	all := []fault{
		{name: "nothing", seeds: []uint64{100}, calm: 2 * time.Second},
		{name: "NATS is killed", seeds: []uint64{111, 112, 113, 114}, inject: killNATS(0)},
		{name: "NATS is killed twice", seeds: []uint64{115, 116}, inject: killNATS(1)},
		{name: "NATS hangs for 7 s", seeds: []uint64{121, 122, 123}, inject: hangNATS},
		{name: "zombie", seeds: []uint64{131, 132, 133, 134}, workers: 2, events: 24000, rate: 1500, inject: zombie},
		{name: "zombie with a backlog", seeds: []uint64{141, 142, 143, 144}, events: 24000, rate: 1500, inject: zombieWithBacklog},
		{name: "both workers are killed", seeds: []uint64{151, 152, 153, 154}, workers: 2, inject: killBoth},
		{name: "killed while it drains", seeds: []uint64{161, 162, 163, 164}, inject: killDraining},
		{name: "killed while it takes over", seeds: []uint64{171, 172, 173, 174}, inject: killTakingOver},
		{name: "1 -> 8 -> 1", seeds: []uint64{181, 182}, inject: scaleOutAndIn},
		{name: "rolling update", seeds: []uint64{191, 192}, inject: rollingUpdate},
		{name: "slow consumers", seeds: []uint64{201, 202}, inject: slowConsumers},
		{name: "streams are full", seeds: []uint64{211, 212}, inject: fillStreams},
		{name: "duplicates across a restart", seeds: []uint64{221, 222, 223}, prepare: repeatAll, inject: killStage("validate")},
		{name: "killed while rules change", seeds: []uint64{261, 262, 263, 264, 265, 266}, events: 40_000, rate: 4_000, judged: true, inject: changeRules},
		{name: "consumers are deleted", seeds: []uint64{231, 232, 233}, inject: deleteConsumers},
		{name: "the leases are deleted", seeds: []uint64{241, 242}, workers: 2, inject: deleteLeases},
		{name: "everything at once", seeds: []uint64{251, 252, 253, 254}, workers: 2, events: 40000, inject: storm},
	}
	for i, stage := range stages() {
		kill := fault{name: stage + " is killed", events: 40_000, rate: 8_000, inject: killStage(stage)}
		for n := range uint64(50) {
			if int(n)%len(stages()) == i {
				kill.seeds = append(kill.seeds, n+1)
			}
		}
		all = slices.Insert(all, 1+i, kill)
	}
	return all
}

// short are a few of them, for every change.
func short() []fault {
	return []fault{
		{name: "workers are killed", seeds: []uint64{301}, inject: killEach},
		{name: "NATS is killed", seeds: []uint64{302}, inject: killNATS(0)},
		{name: "zombie", seeds: []uint64{303}, workers: 2, events: 24000, inject: zombie},
		{name: "rolling update", seeds: []uint64{304}, inject: rollingUpdate},
		{name: "streams are full", seeds: []uint64{305}, inject: fillStreams},
		{name: "duplicates across a restart", seeds: []uint64{306}, events: 8000, prepare: repeatAll, inject: killStage("validate")},
	}
}

// killStage kills a worker of a stage once or twice; another one is started up to a second later.
func killStage(stage string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		for range 1 + w.r.IntN(2) {
			if err := w.between(ctx, 0.05, 0.5); err != nil {
				return err
			}
			w.one(stage).Kill9()
			if err := wait(ctx, time.Duration(w.r.Int64N(int64(time.Second)))); err != nil {
				return err
			}
			if _, err := w.StartWorker(stage); err != nil {
				return err
			}
		}
		return nil
	}
}

// killEach kills a worker of each stage, each at a time of its own.
func killEach(ctx context.Context, w *world) error {
	for _, stage := range stages() {
		if err := w.between(ctx, 0.05, 0.15); err != nil {
			return err
		}
		w.one(stage).Kill9()
		if _, err := w.StartWorker(stage); err != nil {
			return err
		}
	}
	return nil
}

// changeRules kills the worker of validate at bad moments, and the next one has other rules, from the beginning or
// soon after; by some of them half of the events are dead letters.
func changeRules(ctx context.Context, w *world) error {
	usual := w.Stage("validate").Config
	all := []*config.StageConfig{&usual}
	for _, digits := range []string{"02468", "13579"} {
		strict, rules := usual, *usual.Validate
		rules.Rules = append(slices.Clip(rules.Rules), config.Rule{Expression: "event.id.matches('[" + digits + "]$')", Message: "half of the ids"})
		strict.Validate = &rules
		all = append(all, &strict)
	}
	if err := w.between(ctx, 0.1, 0.2); err != nil {
		return err
	}
	now := 0
	for range 4 {
		next := (now + 1 + w.r.IntN(2)) % len(all)
		w.one("validate").Kill9()
		if err := w.restartWith(ctx, all[next], w.r.IntN(2) == 0); err != nil {
			return err
		}
		// A backlog has come: the steps are large.
		if err := wait(ctx, time.Duration(w.r.Int64N(int64(300*time.Millisecond)))); err != nil {
			return err
		}
		now = next
	}
	w.one("validate").Kill9()
	return w.restartWith(ctx, &usual, false)
}

// restartWith starts a worker of validate with a config, and waits until it has the lane. A late config comes
// while it starts.
func (w *world) restartWith(ctx context.Context, c *config.StageConfig, late bool) error {
	data, err := c.Encode()
	if err != nil {
		return err
	}
	write := func() error { return os.WriteFile(w.ConfigFile("validate"), data, 0o600) }
	if !late {
		if err := write(); err != nil {
			return err
		}
	}
	next, err := w.StartWorker("validate")
	if err != nil {
		return err
	}
	if late {
		if err := errors.Join(wait(ctx, time.Duration(w.r.Int64N(int64(lapse)))), write()); err != nil {
			return err
		}
	}
	return w.working(ctx, next)
}

// working waits until a worker has lanes.
func (w *world) working(ctx context.Context, worker *rig.Worker) error {
	for {
		metrics, err := worker.Metrics(ctx)
		if err == nil && metrics.Sum("millrace_worker_lanes") > 0 {
			return nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// killBoth kills both workers of a stage at once.
func killBoth(ctx context.Context, w *world) error {
	stage := w.anyStage()
	if err := w.between(ctx, 0.1, 0.5); err != nil {
		return err
	}
	for _, worker := range w.Running(stage) {
		worker.Kill9()
	}
	return w.scale(ctx, stage, 2)
}

// killDraining kills a worker that was told to end shortly before.
func killDraining(ctx context.Context, w *world) error {
	for range 3 {
		if err := w.between(ctx, 0.1, 0.25); err != nil {
			return err
		}
		worker := w.one(w.anyStage())
		if err := worker.Terminate(); err != nil {
			return err
		}
		if err := wait(ctx, time.Duration(w.r.Int64N(int64(60*time.Millisecond)))); err != nil {
			return err
		}
		worker.Kill9()
		if _, err := w.StartWorker(worker.Stage()); err != nil {
			return err
		}
	}
	return nil
}

// killTakingOver kills a worker, and the next one when it has just got the lanes.
func killTakingOver(ctx context.Context, w *world) error {
	stage := w.anyStage()
	if err := w.between(ctx, 0.1, 0.3); err != nil {
		return err
	}
	w.one(stage).Kill9()
	next, err := w.StartWorker(stage)
	if err != nil {
		return err
	}
	if err := w.working(ctx, next); err != nil {
		return err
	}
	if err := wait(ctx, time.Duration(w.r.Int64N(int64(300*time.Millisecond)))); err != nil {
		return err
	}
	next.Kill9()
	_, err = w.StartWorker(stage)
	return err
}

// killNATS kills the server again and again times more, and starts it on what it has stored.
func killNATS(again int) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		for range 1 + again {
			if err := w.between(ctx, 0.1, 0.4); err != nil {
				return err
			}
			w.KillNATS()
			if err := wait(ctx, time.Duration(w.r.Int64N(int64(2*time.Second)))); err != nil {
				return err
			}
			if err := w.RestartNATS(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// hangNATS stops the server for longer than a worker waits for a PubAck: acknowledgements come
// late, and to publishes that were given up.
func hangNATS(ctx context.Context, w *world) error {
	if err := w.between(ctx, 0.1, 0.5); err != nil {
		return err
	}
	pid := w.Server().Pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	err := wait(ctx, 7*time.Second)
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

// lapse is longer than a lease lives without a sign of its worker, whoever looks.
const lapse = 9 * time.Second

// zombie stops a worker until another one has its lanes, and lets it go on.
func zombie(ctx context.Context, w *world) error {
	if err := w.between(ctx, 0.05, 0.3); err != nil {
		return err
	}
	return w.sleeps(ctx, w.one(w.anyStage()), lapse+time.Duration(w.r.Int64N(int64(2*time.Second))))
}

// zombieWithBacklog stops the only worker of a stage in the moment when most is on its way to it.
func zombieWithBacklog(ctx context.Context, w *world) error {
	stage := w.anyStage()
	if err := w.scale(ctx, stage, 0); err != nil {
		return err
	}
	if err := w.between(ctx, 0.1, 0.2); err != nil {
		return err
	}
	first, err := w.StartWorker(stage)
	if err != nil {
		return err
	}
	for {
		metrics, err := first.Metrics(ctx)
		if err == nil && metrics.Sum("millrace_stage_events_total", "stage", stage) > 0 {
			break
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	if err := first.Stop(); err != nil {
		return err
	}
	if _, err := w.StartWorker(stage); err != nil {
		return errors.Join(err, first.Cont())
	}
	return w.sleeps(ctx, first, lapse)
}

// sleeps stops a worker for a time.
func (w *world) sleeps(ctx context.Context, worker *rig.Worker, d time.Duration) error {
	if err := worker.Stop(); err != nil {
		return err
	}
	err := wait(ctx, d)
	return errors.Join(err, worker.Cont())
}

// scaleOutAndIn has 8 workers of two stages, and one again.
func scaleOutAndIn(ctx context.Context, w *world) error {
	if err := w.between(ctx, 0.05, 0.1); err != nil {
		return err
	}
	for _, n := range []int{8, 1} {
		both, stop := errgroup.WithContext(ctx)
		for _, stage := range []string{"enrich", "analyze"} {
			both.Go(func() error { return w.scale(stop, stage, n) })
		}
		if err := both.Wait(); err != nil {
			return err
		}
		if err := w.between(ctx, 0.1, 0.3); err != nil {
			return err
		}
	}
	return nil
}

// roll replaces the workers of a stage: a new one is ready before the old one is told to end.
func (w *world) roll(ctx context.Context, stage string) error {
	for _, old := range w.Running(stage) {
		next, err := w.StartWorker(stage)
		if err != nil {
			return err
		}
		if err := next.WaitReady(ctx); err != nil {
			return err
		}
		if code, err := old.Term(40 * time.Second); err != nil || code != 0 {
			return fmt.Errorf("%s: exit code %d: %w", old.Name(), code, err)
		}
	}
	return nil
}

// rollingUpdate replaces each worker.
func rollingUpdate(ctx context.Context, w *world) error {
	for _, stage := range stages() {
		if err := w.roll(ctx, stage); err != nil {
			return err
		}
		if err := w.between(ctx, 0, 0.1); err != nil {
			return err
		}
	}
	return nil
}

// slowConsumers stops workers for moments, all the time.
func slowConsumers(ctx context.Context, w *world) error {
	for end := time.Now().Add(w.load); time.Now().Before(end); {
		d := 100*time.Millisecond + time.Duration(w.r.Int64N(int64(900*time.Millisecond)))
		if err := w.sleeps(ctx, w.one(w.anyStage()), d); err != nil {
			return err
		}
		if err := wait(ctx, d/4); err != nil {
			return err
		}
	}
	return nil
}

// fillStreams leaves ENRICHED_EVENTS and RAW_EVENTS little room, until the publisher is told so.
func fillStreams(ctx context.Context, w *world) error {
	if err := w.between(ctx, 0.1, 0.2); err != nil {
		return err
	}
	for stream, room := range map[string]uint64{"ENRICHED_EVENTS": 50_000, "RAW_EVENTS": 1_000_000} {
		if err := w.limit(ctx, stream, room); err != nil {
			return err
		}
	}
	for full := 0; full < 5; full, _ = w.publish.refusals() {
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("RAW_EVENTS is full, but the publisher was not told: %w", err)
		}
	}
	if err := w.between(ctx, 0.05, 0.2); err != nil {
		return err
	}
	return w.Apply(ctx)
}

// limit leaves a stream room for some more bytes.
func (w *world) limit(ctx context.Context, name string, room uint64) error {
	s, err := w.JetStream().Stream(ctx, name)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.MaxBytes = int64(s.CachedInfo().State.Bytes + room)
	_, err = w.JetStream().UpdateStream(ctx, c)
	return err
}

// repeatAll sends everything a second time, under other message ids.
func repeatAll(in *input) {
	for _, m := range slices.Clone(in.messages) {
		again := *m
		again.id += "-again"
		again.msg.Header = maps.Clone(m.msg.Header)
		again.msg.Header[nats.MsgIdHdr] = []string{again.id}
		in.messages = append(in.messages, &again)
		in.events += len(again.lines)
	}
}

// deleteConsumers deletes some, which are made again from the beginning of their streams.
func deleteConsumers(ctx context.Context, w *world) error {
	for range 3 {
		if err := w.between(ctx, 0.1, 0.25); err != nil {
			return err
		}
		all := w.Stage(w.anyStage()).Consumers
		c := all[w.r.IntN(len(all))]
		if err := w.JetStream().DeleteConsumer(ctx, c.Stream, c.Durable); err != nil {
			return err
		}
		if err := wait(ctx, time.Duration(w.r.Int64N(int64(time.Second)))); err != nil {
			return err
		}
		if err := w.Apply(ctx); err != nil {
			return err
		}
	}
	return nil
}

// deleteLeases deletes the bucket in which the workers agree on who owns what.
func deleteLeases(ctx context.Context, w *world) error {
	if err := w.between(ctx, 0.1, 0.3); err != nil {
		return err
	}
	if err := w.JetStream().DeleteKeyValue(ctx, w.Plan().Leases.Bucket); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		return err
	}
	if err := w.between(ctx, 0.1, 0.3); err != nil {
		return err
	}
	return w.Apply(ctx)
}

// storm does this and that until the load is over.
func storm(ctx context.Context, w *world) error {
	for end := time.Now().Add(w.load); time.Now().Before(end); {
		var err error
		switch w.r.IntN(6) {
		case 0:
			w.KillNATS()
			err = w.RestartNATS(ctx)
		case 1:
			err = w.sleeps(ctx, w.one(w.anyStage()), time.Duration(w.r.Int64N(int64(lapse))))
		case 2:
			_, err = w.one(w.anyStage()).Term(time.Minute)
		case 3:
			all := w.Stage(w.anyStage()).Consumers
			c := all[w.r.IntN(len(all))]
			err = errors.Join(w.JetStream().DeleteConsumer(ctx, c.Stream, c.Durable), w.Apply(ctx))
		default:
			w.one(w.anyStage()).Kill9()
		}
		if err != nil {
			return err
		}
		for _, stage := range stages() {
			for len(w.Running(stage)) < 2 {
				if _, err := w.StartWorker(stage); err != nil {
					return err
				}
			}
		}
		if err := wait(ctx, time.Duration(w.r.Int64N(int64(2*time.Second)))); err != nil {
			return err
		}
	}
	return nil
}
