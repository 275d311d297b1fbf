package local

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/engine"
)

// drainPoll is how often a run looks whether its stages are done.
const drainPoll = 20 * time.Millisecond

// drain lets the stages process what is stored, in the order of the graph, and has each
// emit what it still holds back, before the next one is waited for: what a stage holds in
// memory ends with the process.
func (r *runner) drain(ctx context.Context) error {
	for _, s := range r.plan.Stages {
		e := r.engines[s.Name]
		if e == nil {
			continue
		}
		if err := r.awaitDrained(ctx, s, e); err != nil {
			return err
		}
		if err := e.FinalFlush(ctx); err != nil {
			return fmt.Errorf("stage %s: %w", s.Name, err)
		}
	}
	r.ended = time.Now()
	for _, w := range r.outputs {
		if err := w.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitDrained waits until a stage has acknowledged all that is stored for it.
func (r *runner) awaitDrained(ctx context.Context, s plan.Stage, e *engine.Engine) error {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		if err := e.WaitIdle(ctx); err != nil {
			return err
		}
		drained, err := r.drained(ctx, s)
		if drained || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drained says whether stage s has acknowledged all that is stored for it. It compares with
// what the stream holds: the server adds to the pending count of a consumer only some time
// after it has stored a message.
func (r *runner) drained(ctx context.Context, s plan.Stage) (bool, error) {
	for _, c := range s.Consumers {
		last, err := lastSequence(ctx, r.js, consumerPlace(r.plan, c))
		if err != nil {
			return false, err
		}
		cons, err := r.js.Consumer(ctx, c.Stream, c.Durable)
		if err != nil {
			return false, fmt.Errorf("consumer %s of stage %s: %w", c.Durable, s.Name, err)
		}
		if i := cons.CachedInfo(); i.AckFloor.Stream < last || i.NumAckPending > 0 {
			return false, nil
		}
	}
	return true, nil
}

// allDrained says whether all stages that run have acknowledged all that is stored for them.
func (r *runner) allDrained(ctx context.Context) (bool, error) {
	for _, s := range r.plan.Stages {
		if r.engines[s.Name] == nil {
			continue
		}
		if drained, err := r.drained(ctx, s); !drained || err != nil {
			return false, err
		}
	}
	return true, nil
}

// backlog counts, for each stage, the events stored for it that it has not acknowledged.
func (r *runner) backlog(ctx context.Context) (map[string]int64, error) {
	left := map[string]int64{}
	for _, s := range r.plan.Stages {
		for _, c := range s.Consumers {
			cons, err := r.js.Consumer(ctx, c.Stream, c.Durable)
			if err != nil {
				return nil, fmt.Errorf("consumer %s of stage %s: %w", c.Durable, s.Name, err)
			}
			pl, floor := consumerPlace(r.plan, c), cons.CachedInfo().AckFloor.Stream
			last, err := lastSequence(ctx, r.js, pl)
			if err != nil {
				return nil, err
			}
			if last <= floor {
				continue // most lanes, most of the time
			}
			n, err := storedEvents(ctx, r.js, pl, floor)
			if err != nil {
				return nil, err
			}
			left[s.Name] += n
		}
	}
	return left, nil
}
