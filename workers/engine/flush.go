package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/event"
)

// flushEvery is how often a stage may emit by the clock.
const flushEvery = time.Second

type flushRequest struct {
	final bool
	done  chan error
}

// flushTick ticks on the lane that flushes; on the others, and when the stage makes
// nothing by the clock, it never does.
func (l *lane) flushTick() *time.Ticker {
	t := time.NewTicker(flushEvery)
	if l.index != 0 || l.e.flusher == nil {
		t.Stop()
	}
	return t
}

func (l *lane) requests() <-chan flushRequest {
	if l.index != 0 {
		return nil
	}
	return l.e.flushes
}

// flush lets the stage emit by the clock and publishes what it made. No input waits for
// that: it was acknowledged before.
func (l *lane) flush(ctx context.Context, final bool) error {
	if l.e.flusher == nil {
		return nil
	}
	if err := l.callFlush(ctx, final); err != nil {
		if l.e.panics.allow(l.e.now()) {
			l.e.log.Error("the stage failed to flush", "error", err)
		}
		return fmt.Errorf("flush stage %s: %w", l.e.cfg.Stage, err)
	}
	l.publishProduced(ctx, l.batch.Produced(), nil)
	l.batch.Reset(1)
	return nil
}

func (l *lane) callFlush(ctx context.Context, final bool) (err error) {
	l.batch.Events = []event.Event(nil)
	l.batch.Reset(1)
	began := l.e.now()
	l.busySince.Store(began.UnixNano())
	defer l.busySince.Store(0)
	defer l.e.recovered(&err)
	return l.e.flusher.Flush(ctx, began, final, &l.batch)
}

// FinalFlush has the stage emit everything that it still holds, and waits until that is
// stored. It is for a run whose input is drained for good (millrace run --until-drained):
// call it while Run runs, when the consumers of the stage have nothing left, in the order
// of the graph.
func (e *Engine) FinalFlush(ctx context.Context) error {
	if err := e.WaitIdle(ctx); err != nil {
		return fmt.Errorf("wait for stage %s to be idle: %w", e.cfg.Stage, err)
	}
	r := flushRequest{final: true, done: make(chan error, 1)}
	select {
	case e.flushes <- r:
	case <-e.closed:
		return errors.New("final flush: the engine has stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		if err != nil {
			return err
		}
	case <-e.closed:
		return errors.New("final flush: the engine has stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.waitPublished(ctx)
}
