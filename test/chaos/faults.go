package chaos

import "context"

// fault is one thing that goes wrong under load.
type fault struct {
	name string
	// workers of each stage, when it begins; 0 = 1.
	workers int
	// events and rate are those of the load.
	events, rate int
	inject       func(ctx context.Context, w *world) error
}

func killOne(stage string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		if err := w.between(ctx, 0.1, 0.5); err != nil {
			return err
		}
		w.one(stage).Kill9()
		_, err := w.StartWorker(stage)
		return err
	}
}
