package chaos

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/test/rig"
)

// kindsFault is one thing that goes wrong while every kind works.
type kindsFault struct {
	name string
	// rate is the load in events a second.
	rate   int
	inject func(ctx context.Context, k *kinds) error
}

// kindsFaults are all of them, in the order in which a rig goes through them.
func kindsFaults() []kindsFault {
	return []kindsFault{
		{"nothing", 1000, func(ctx context.Context, _ *kinds) error { return wait(ctx, 2*time.Second) }},
		{"workers are killed", 500, whileNobodyAnswers(killKinds(3, false))},
		{"NATS is killed", 1000, killServers(3)},
		{"1 -> 4 -> 1", 500, whileNobodyAnswers(scaleKinds(2))},
		{"settings change", 500, whileNobodyAnswers(changeKinds(4))},
		{"killed while settings change", 500, whileNobodyAnswers(killKinds(3, true))},
		{"everything at once", 500, stormOfKinds},
	}
}

// shortKindsFaults are for every change.
func shortKindsFaults() []kindsFault {
	return []kindsFault{
		{"killed while settings change", 200, whileNobodyAnswers(killKinds(1, true))},
		{"NATS is killed; 1 -> 4 -> 1; settings change", 200, func(ctx context.Context, k *kinds) error {
			return errors.Join(killServers(1)(ctx, k), scaleKinds(1)(ctx, k), changeKinds(1)(ctx, k))
		}},
	}
}

// kindsSeeds are those of a rig each.
func kindsSeeds() []uint64 { return []uint64{501, 502, 503} }

// pause waits for a random time.
func (k *kinds) pause(ctx context.Context, most time.Duration) error {
	return wait(ctx, time.Duration(k.r.Int64N(int64(most))))
}

// shuffled are the columns in any order.
func (k *kinds) shuffled() []*column {
	all := slices.Clone(k.columns)
	k.r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// whileNobodyAnswers has the responder of gather away when a fault begins, for longer than it takes the breaker to open.
func whileNobodyAnswers(inject func(context.Context, *kinds) error) func(context.Context, *kinds) error {
	return func(ctx context.Context, k *kinds) error {
		both, stop := errgroup.WithContext(ctx)
		both.Go(func() error { return k.away(stop) })
		both.Go(func() error { return inject(stop, k) })
		return both.Wait()
	}
}

func (k *kinds) away(ctx context.Context) error {
	k.responder.Close()
	return errors.Join(wait(ctx, 1500*time.Millisecond), k.comes())
}

// killKinds kills a worker of each stage, at a time of its own; the next round begins when the workers that were started in their place have
// just got the lanes. With change, these have other settings.
func killKinds(rounds int, change bool) func(context.Context, *kinds) error {
	return func(ctx context.Context, k *kinds) error {
		k.segments[len(k.segments)-1].cut = change
		for range rounds {
			var started []*rig.Worker
			for _, c := range k.shuffled() {
				if err := k.pause(ctx, 150*time.Millisecond); err != nil {
					return err
				}
				if change && c.change != nil {
					if err := k.put(c, k.another(c)); err != nil {
						return err
					}
				}
				k.one(c.stage).Kill9()
				next, err := k.StartWorker(c.stage)
				if err != nil {
					return err
				}
				started = append(started, next)
			}
			for _, w := range started {
				if err := k.working(ctx, w); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// killServers kills the server of the pipeline and that of a sink, and starts both on what they have stored.
func killServers(times int) func(context.Context, *kinds) error {
	return func(ctx context.Context, k *kinds) error {
		for range times {
			if err := k.pause(ctx, 2*time.Second); err != nil {
				return err
			}
			k.KillNATS()
			k.archive.Kill9()
			if err := errors.Join(k.pause(ctx, time.Second), k.RestartNATS(ctx), k.archive.Restart(ctx)); err != nil {
				return err
			}
		}
		return nil
	}
}

// scaleKinds has 4 workers of each stage, and one again.
func scaleKinds(times int) func(context.Context, *kinds) error {
	return func(ctx context.Context, k *kinds) error {
		for range times {
			for _, n := range []int{4, 1} {
				all, stop := errgroup.WithContext(ctx)
				all.SetLimit(4)
				for _, c := range k.shuffled() {
					all.Go(func() error { return k.scale(stop, c.stage, n) })
				}
				if err := errors.Join(all.Wait(), k.pause(ctx, time.Second)); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// changeKinds gives each stage that has some other settings.
func changeKinds(times int) func(context.Context, *kinds) error {
	return func(ctx context.Context, k *kinds) error {
		for range times {
			if err := errors.Join(k.pause(ctx, 500*time.Millisecond), k.changeAll(ctx)); err != nil {
				return err
			}
		}
		return nil
	}
}

// stormOfKinds does this and that.
func stormOfKinds(ctx context.Context, k *kinds) error {
	k.segments[len(k.segments)-1].cut = true
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		c := k.shuffled()[0]
		var err error
		switch k.r.IntN(6) {
		case 0:
			err = killServers(1)(ctx, k)
		case 1:
			err = k.changeAll(ctx)
		case 2:
			err = k.away(ctx)
		case 3:
			err = k.scale(ctx, c.stage, 1+k.r.IntN(4))
		default:
			for _, w := range k.Running(c.stage) {
				w.Kill9()
			}
			_, err = k.StartWorker(c.stage)
		}
		if err := errors.Join(err, k.pause(ctx, 500*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}
