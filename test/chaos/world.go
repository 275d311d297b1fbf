package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/test/rig"
)

// stages of the sample, in the order of the graph.
func stages() []string { return []string{"validate", "enrich", "correlate", "analyze"} }

// patient is how long a run may take behind its load, until it counts as stuck.
const patient = 90 * time.Second

// world is a rig with its ledger; runs follow one another in it.
type world struct {
	*rig.Rig
	ledger *ledger

	// Of a run:
	r       *rand.Rand
	load    time.Duration // how long the publisher takes when nothing is in its way
	publish *publisher
}

func newWorld(r *rig.Rig) (*world, error) {
	l, err := newLedger(r)
	if err != nil {
		return nil, err
	}
	return &world{Rig: r, ledger: l}, nil
}

// run publishes events, has the fault do its work meanwhile, waits until all is drained, and
// returns what the ledger says. After an error the world is of no use any more.
func (w *world) run(ctx context.Context, f *fault, seed uint64) (*tally, error) {
	events, rate := f.events, f.rate
	if events == 0 {
		events = 20_000
	}
	if rate == 0 {
		rate = 2_000
	}
	in, err := makeInput(seed, events)
	if err != nil {
		return nil, err
	}
	if f.prepare != nil {
		f.prepare(in)
	}
	w.r = rand.New(rand.NewPCG(seed, 2))
	w.load = time.Duration(in.events) * time.Second / time.Duration(rate)
	ctx, cancel := context.WithTimeout(ctx, w.load+patient)
	defer cancel()
	for _, s := range stages() {
		if err := w.scale(ctx, s, max(f.workers, 1)); err != nil {
			return nil, fmt.Errorf("before the run: %w", err)
		}
	}
	if w.publish, err = newPublisher(w.Conn(), rate); err != nil {
		return nil, err
	}
	w.ledger.begin(in, f.judged)
	t := w.ledger.tally
	stuck := w.under(ctx, f, in)
	t.took = time.Since(t.began)
	t.refused, t.repeated = w.publish.full, w.publish.repeated
	// What is there counts, be it stuck or not.
	look, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	if err := w.ledger.close(look, w.publish.confirmed); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if stuck != nil {
		t.problem("stuck: %s", stuck)
	}
	return t, nil
}

// under runs the load and the fault, and waits until all is drained.
func (w *world) under(ctx context.Context, f *fault, in *input) error {
	both, stop := errgroup.WithContext(ctx)
	both.Go(func() error { return w.publish.run(stop, in) })
	if f.inject != nil {
		both.Go(func() error { return f.inject(stop, w) })
	}
	if err := both.Wait(); err != nil {
		return err
	}
	return w.WaitDrained(ctx)
}

// scale starts or ends workers of a stage until n run and are ready.
func (w *world) scale(ctx context.Context, stage string, n int) error {
	running := w.Running(stage)
	for ; len(running) > n; running = running[1:] {
		if code, err := running[0].Term(40 * time.Second); err != nil || code != 0 {
			return fmt.Errorf("%s: exit code %d: %w", running[0].Name(), code, err)
		}
	}
	for len(running) < n {
		started, err := w.StartWorker(stage)
		if err != nil {
			return err
		}
		running = append(running, started)
	}
	for _, worker := range running {
		if err := worker.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// one is one running worker of a stage.
func (w *world) one(stage string) *rig.Worker {
	running := w.Running(stage)
	return running[w.r.IntN(len(running))]
}

func (w *world) anyStage() string { return stages()[w.r.IntN(len(stages()))] }

// between waits for a random time between two parts of the load.
func (w *world) between(ctx context.Context, from, to float64) error {
	return wait(ctx, time.Duration((from+w.r.Float64()*(to-from))*float64(w.load)))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
