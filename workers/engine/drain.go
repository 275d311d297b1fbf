package engine

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// idlePoll is how often something that waits for the engine to be idle looks.
const idlePoll = 2 * time.Millisecond

// drain finishes the work in hand and gives the rest back.
func (e *Engine) drain(work context.Context, cancel context.CancelFunc, lanes *sync.WaitGroup) error {
	began := e.now()
	deadline := time.AfterFunc(e.limits.drain, cancel)
	defer deadline.Stop()
	for _, in := range e.inputs {
		in.stop()
	}
	e.parked.releaseAll()
	done := make(chan struct{})
	go func() { lanes.Wait(); close(done) }()
	var err error
	select {
	case <-done:
		_ = e.waitPublished(work)
	case <-work.Done():
		// A stage that ignores its context is left behind: the process ends.
		select {
		case <-done:
		case <-time.After(time.Second):
			err = fmt.Errorf("drain: stage %s did not return from Process within %s", e.cfg.Stage, e.limits.drain)
		}
	}
	if n := e.pub.outstanding(); n > 0 && err == nil {
		err = fmt.Errorf("drain: %d outputs were not confirmed within %s: %v; what they came from is delivered again", n, e.limits.drain, e.pub.waiting())
	}
	returned := 0
	for _, in := range e.inputs {
		returned += in.giveBack()
	}
	e.unsubscribe(work)
	e.log.Info("drained", "took", e.now().Sub(began), "messages_given_back", returned)
	return err
}

// stop has in take no more messages: what still arrives is given back.
func (in *input) stop() {
	in.mu.Lock()
	in.draining = true
	in.mu.Unlock()
}

// unsubscribe lets what the server has sent already arrive, so that it is given back too,
// and makes sure that all acknowledgements have left.
func (e *Engine) unsubscribe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, in := range e.inputs {
		_ = in.sub.Drain()
	}
	_ = e.pub.sub.Drain()
	_ = e.conn.FlushWithContext(ctx)
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for e.subscribed() && e.conn.IsConnected() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	_ = e.conn.FlushWithContext(ctx)
}

func (e *Engine) subscribed() bool {
	for _, in := range e.inputs {
		if in.sub.IsValid() {
			return true
		}
	}
	return e.pub.sub.IsValid()
}

// waitPublished waits until every output is confirmed.
func (e *Engine) waitPublished(ctx context.Context) error {
	return e.wait(ctx, func() bool { return e.pub.outstanding() == 0 })
}

// WaitIdle waits until nothing is in hand and every output is confirmed. More may arrive
// right after: ask the consumer whether it has something left.
func (e *Engine) WaitIdle(ctx context.Context) error {
	return e.wait(ctx, e.idle)
}

func (e *Engine) idle() bool {
	for _, in := range e.inputs {
		in.mu.Lock()
		n := in.shelf.len()
		in.mu.Unlock()
		if n > 0 {
			return false
		}
	}
	return e.pub.outstanding() == 0
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
