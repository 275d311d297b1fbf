package rig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/controllers/plan"
)

// Drained says whether every stage has acknowledged all that is stored for it. What a stage
// still holds back (an open window, an open incident) is no part of that. The stages are
// looked at in the order of the graph, so that true is true for all when nobody publishes.
func (r *Rig) Drained(ctx context.Context) (bool, error) {
	for _, s := range r.plan.Stages {
		drained, err := r.StageDrained(ctx, s.Name)
		if !drained || err != nil {
			return false, err
		}
	}
	return true, nil
}

// StageDrained is Drained for one stage.
func (r *Rig) StageDrained(ctx context.Context, stage string) (bool, error) {
	s := r.Stage(stage)
	if s == nil {
		return false, fmt.Errorf("the pipeline has no stage %q", stage)
	}
	for _, c := range s.Consumers {
		drained, err := r.consumerDrained(ctx, c)
		if err != nil {
			return false, fmt.Errorf("consumer %s of stage %s: %w", c.Durable, stage, err)
		}
		if !drained {
			return false, nil
		}
	}
	return true, nil
}

// consumerDrained compares with what the stream holds: the server adds to the pending count
// of a consumer only some time after it has stored a message.
func (r *Rig) consumerDrained(ctx context.Context, c plan.Consumer) (bool, error) {
	stream, err := r.js.Stream(ctx, c.Stream)
	if err != nil {
		return false, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, c.FilterSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	consumer, err := stream.Consumer(ctx, c.Durable)
	if err != nil {
		return false, err
	}
	i := consumer.CachedInfo()
	return i.AckFloor.Stream >= last.Sequence && i.NumAckPending == 0, nil
}

// WaitDrained waits until Drained. While NATS is away it waits on; the last error is told
// when ctx ends.
func (r *Rig) WaitDrained(ctx context.Context) error {
	var last error
	for {
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		drained, err := r.Drained(look)
		cancel()
		if err == nil && drained {
			return nil
		}
		last = err
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return errors.Join(fmt.Errorf("not drained: %w", err), last, r.stuck())
		}
	}
}

// stuck names the workers that have ended, which is why most drains never end.
func (r *Rig) stuck() error {
	var errs []error
	for _, w := range r.Workers() {
		if !w.Running() {
			errs = append(errs, fmt.Errorf("worker %s has ended", w.name))
		}
	}
	return errors.Join(errs...)
}
