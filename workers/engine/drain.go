package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/engine/lane"
)

// idlePoll is how often something that waits for the engine to be idle looks.
const idlePoll = 2 * time.Millisecond

// flushTimeout bounds the waits for the connection while draining.
const flushTimeout = 2 * time.Second

// drain finishes the work in hand and gives the lanes back, each as soon as it is done.
func (e *Engine) drain(work context.Context, cancel, stopKeeping context.CancelFunc) error {
	began := e.worker.Now()
	deadline := time.AfterFunc(e.worker.Limits.Drain, cancel)
	defer deadline.Stop()
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	lanes := e.allLanes()
	if e.keeper != nil {
		e.keeper.Retire()
	}
	for _, l := range lanes {
		l.Stop()
	}
	err := e.finish(work, lanes)
	flush, stop := context.WithTimeout(context.WithoutCancel(work), flushTimeout)
	defer stop()
	e.leave(flush, stopKeeping)
	_ = e.conn.FlushWithContext(flush) // the acknowledgements must leave before the connection closes
	e.log.Info("drained", "took", e.worker.Now().Sub(began), "lanes", held(lanes))
	return err
}

// held is how many lanes there are, without those that replay the overflow of others.
func held(lanes []*lane.Lane) (n int) {
	for _, l := range lanes {
		if !l.Replays() {
			n++
		}
	}
	return n
}

// leave ends the keeping of leases.
func (e *Engine) leave(ctx context.Context, stopKeeping context.CancelFunc) {
	if e.keeper == nil {
		return
	}
	stopKeeping()
	<-e.kept
	if err := e.keeper.Leave(ctx); err != nil {
		e.log.Warn("the leases were not given back, they expire", "error", err)
	}
}

// finish waits for the lanes, until work ends.
func (e *Engine) finish(work context.Context, lanes []*lane.Lane) error {
	done := make(chan struct{})
	go func() { e.running.Wait(); close(done) }()
	select {
	case <-done:
		if work.Err() == nil {
			return nil
		}
	case <-work.Done():
		// A stage that ignores its context is left behind: the process ends.
		select {
		case <-done:
		case <-time.After(time.Second):
			return fmt.Errorf("drain: stage %s did not return from Process within %s", e.cfg.Stage, e.worker.Limits.Drain)
		}
	}
	var waiting []string
	for _, l := range lanes {
		if l.Busy() {
			waiting = append(waiting, l.LeftWaiting()...)
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("drain: outputs were not confirmed within %s: %v; what they came from is processed again", e.worker.Limits.Drain, waiting)
	}
	return nil
}

// WaitIdle waits until nothing is in hand and every output is stored. More may arrive
// right after: ask the consumer whether it has something left.
func (e *Engine) WaitIdle(ctx context.Context) error {
	return e.wait(ctx, e.idle)
}

func (e *Engine) idle() bool {
	for _, l := range e.allLanes() {
		if l.Busy() {
			return false
		}
	}
	hand, _, _ := e.inHand()
	return hand.Messages == 0
}

func (e *Engine) wait(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// FinalFlush has the stages emit everything that they still hold, and waits until that is
// stored. It is for a run whose input is drained for good (millrace run --until-drained):
// call it while Run runs, when the consumers of the stage have nothing left, in the order
// of the graph.
func (e *Engine) FinalFlush(ctx context.Context) error {
	if err := e.WaitStarted(ctx); err != nil {
		return err
	}
	if err := e.WaitIdle(ctx); err != nil {
		return fmt.Errorf("wait for stage %s to be idle: %w", e.cfg.Stage, err)
	}
	lanes := e.allLanes()
	if len(lanes) == 0 {
		return errEnded
	}
	for _, l := range lanes {
		if err := l.FinalFlush(ctx); err != nil {
			return err
		}
	}
	return e.WaitIdle(ctx)
}

var errEnded = errors.New("flush: the engine has stopped")

// FlushUntil has the stages flushed at each tick up to a moment of stream time, as they are by the clock while nothing comes, and has the outputs say how
// far the stage is. It says whether the stages made something: WaitIdle waits until that is stored. It is for a run whose clock jumps
// (Options.StreamTime): call it while Run runs and WaitStarted has returned, when the consumers of the stage have nothing left, in the order of the graph.
func (e *Engine) FlushUntil(ctx context.Context, until time.Time) (made bool, err error) {
	lanes := e.allLanes()
	if len(lanes) == 0 {
		return false, errEnded
	}
	for _, l := range lanes {
		some, err := l.FlushUntil(ctx, until)
		if err != nil {
			return false, err
		}
		made = made || some
	}
	return made, nil
}

// AskQuiet has lanes that wait for an input to be quiet, since they bring several into one order, ask the server at once. They wait two seconds otherwise, since the
// clocks of servers differ. It is for a run that has one server, on the clock of the worker.
func (e *Engine) AskQuiet(ctx context.Context) error {
	for _, l := range e.allLanes() {
		if err := l.AskQuiet(ctx); err != nil {
			return err
		}
	}
	return nil
}

// WaitStarted waits until the lanes are there.
func (e *Engine) WaitStarted(ctx context.Context) error {
	if err := e.wait(ctx, e.hasLanes); err != nil {
		return fmt.Errorf("wait for stage %s to start: %w", e.cfg.Stage, err)
	}
	return nil
}

// hasLanes says that the lanes are there, or none will come any more: a stage may take a while to start.
func (e *Engine) hasLanes() bool {
	want := e.cfg.Lanes
	if e.keeper != nil {
		want = 1 // the others may be those of other workers
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.lanes) >= want || e.draining || e.ended.Load()
}
