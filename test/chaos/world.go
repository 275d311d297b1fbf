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

// world is a rig with its ledger; runs follow one another in it.
type world struct {
	*rig.Rig
	ledger *ledger
	log    func(format string, args ...any)

	// Of a run:
	r       *rand.Rand
	load    time.Duration // how long the publisher takes when nothing is in its way
	publish *publisher
}

// run publishes events, has the fault do its work meanwhile, waits until all is drained, and
// returns what the ledger says.
func (w *world) run(ctx context.Context, f *fault, seed uint64) (*tally, error) {
	in, err := makeInput(seed, f.events)
	if err != nil {
		return nil, err
	}
	for _, s := range stages() {
		if err := w.scale(ctx, s, max(f.workers, 1)); err != nil {
			return nil, err
		}
	}
	if err := w.WaitDrained(ctx); err != nil {
		return nil, err
	}
	w.r = rand.New(rand.NewPCG(seed, 2))
	w.load = time.Duration(in.events) * time.Second / time.Duration(f.rate)
	if w.publish, err = newPublisher(w.Conn(), f.rate); err != nil {
		return nil, err
	}
	w.ledger.begin(in)
	both, stop := errgroup.WithContext(ctx)
	both.Go(func() error { return w.publish.run(stop, in) })
	if f.inject != nil {
		both.Go(func() error { return f.inject(stop, w) })
	}
	if err := both.Wait(); err != nil {
		return nil, err
	}
	t := w.ledger.tally
	t.published = time.Now()
	if err := w.WaitDrained(ctx); err != nil {
		return nil, err
	}
	t.ended = time.Now()
	t.refused, t.repeated = w.publish.full, w.publish.repeated
	return t, w.ledger.close(ctx, w.publish.confirmed)
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
