package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// idlePoll is how often something that waits for the engine to be idle looks.
const idlePoll = 2 * time.Millisecond

// flushTimeout bounds the waits for the connection while draining.
const flushTimeout = 2 * time.Second

// drain finishes the work in hand and gives the rest back.
func (e *Engine) drain(work context.Context, cancel context.CancelFunc, lanes *sync.WaitGroup) error {
	began := e.now()
	deadline := time.AfterFunc(e.limits.drain, cancel)
	defer deadline.Stop()
	e.stopReceiving(work)
	returned := 0
	if !e.stateful { // a stateful stage may still leave earlier messages behind
		returned = e.giveBackQueued(work)
	}
	e.parked.releaseAll()
	err := e.finish(work, lanes)
	flush, stop := context.WithTimeout(context.WithoutCancel(work), flushTimeout)
	defer stop()
	for _, in := range e.inputs {
		returned += in.giveBack(flush, func(*message) bool { return true })
	}
	e.closeSubscriptions(flush, e.pub.sub)
	_ = e.conn.FlushWithContext(flush) // the acknowledgements must leave before the connection closes
	e.log.Info("drained", "took", e.now().Sub(began), "messages_given_back", returned)
	return err
}

// finish waits for the lanes and for their outputs to be stored, until work ends.
func (e *Engine) finish(work context.Context, lanes *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { lanes.Wait(); close(done) }()
	select {
	case <-done:
		_ = e.waitPublished(work)
	case <-work.Done():
		// A stage that ignores its context is left behind: the process ends.
		select {
		case <-done:
		case <-time.After(time.Second):
			return fmt.Errorf("drain: stage %s did not return from Process within %s", e.cfg.Stage, e.limits.drain)
		}
	}
	if n := e.pub.outstanding(); n > 0 {
		return fmt.Errorf("drain: %d outputs were not confirmed within %s: %v; what they came from is delivered again", n, e.limits.drain, e.pub.waiting())
	}
	return nil
}

// stopReceiving ends the subscriptions. What the server had sent by then is received: it
// can be given back, and need not wait for AckWait.
func (e *Engine) stopReceiving(work context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(work), flushTimeout)
	defer cancel()
	var subs []*nats.Subscription
	for _, in := range e.inputs {
		in.mu.Lock()
		in.draining = true
		in.mu.Unlock()
		subs = append(subs, in.sub)
	}
	e.closeSubscriptions(ctx, subs...)
}

// closeSubscriptions ends subscriptions when they are empty, and waits for that while there is a
// connection.
func (e *Engine) closeSubscriptions(ctx context.Context, subs ...*nats.Subscription) {
	for _, s := range subs {
		_ = s.Drain()
	}
	_ = e.wait(ctx, func() bool {
		open := slices.ContainsFunc(subs, func(s *nats.Subscription) bool { return s.IsValid() })
		return !open || !e.conn.IsConnected()
	})
}

// giveBackQueued gives back what no lane has taken.
func (e *Engine) giveBackQueued(ctx context.Context) (n int) {
	queued := map[*message]bool{}
	for {
		select {
		case m := <-e.queue:
			queued[m] = true
			continue
		default:
		}
		break
	}
	for _, in := range e.inputs {
		n += in.giveBack(ctx, func(m *message) bool { return queued[m] })
	}
	return n
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
