package transform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// The reasons of dead letters.
const (
	reasonError   = "transform_error"
	reasonTooMany = "too_many_pieces"
)

// transformer is safe for concurrent use.
type transformer struct {
	steps []step
	split *split // nil = none
	key   *cel.Expression[string]
	room  sync.Pool // of *[]event.Event: memory of earlier batches
}

// step changes an event, or says that it ends.
type step struct {
	// where is how an error names the step.
	where string
	when  *cel.Condition // nil = always
	apply func(e *event.Event) (goesOn bool, err error)
}

// Reload returns a stage with the steps of c.
func (*transformer) Reload(c *config.StageConfig) (stage.Stage, error) {
	return newTransformer(c.Transform)
}

// Start has nothing to wait for.
func (*transformer) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*transformer) Shutdown(context.Context) error { return nil }

// Process changes every event of b.
func (t *transformer) Process(_ context.Context, b *stage.Batch) error {
	// Where a step panics, the engine tries the events that came, one by one.
	came := t.room.Get().(*[]event.Event)
	*came = append((*came)[:0], b.Events...)
	done := false
	defer func() {
		if !done {
			copy(b.Events, *came)
		}
		clear(*came) // they are not kept
		t.room.Put(came)
	}()
	for i := range b.Events {
		if err := t.process(b, i, &b.Events[i]); err != nil {
			reason := reasonError
			if errors.Is(err, errTooMany) {
				reason = reasonTooMany
			}
			b.DeadLetter(i, reason, err)
		}
	}
	done = true
	return nil
}

func (t *transformer) process(b *stage.Batch, i int, e *event.Event) error {
	for n := range t.steps {
		s := &t.steps[n]
		goesOn, err := s.run(e)
		if err != nil {
			return fmt.Errorf("%s: %w", s.where, err)
		}
		if !goesOn {
			b.Filter(i)
			return nil
		}
	}
	if t.split != nil {
		is, err := isFor(t.split.when, e)
		if err != nil {
			return fmt.Errorf("%s: %w", t.split.where, err)
		}
		if is {
			return t.pieces(b, i, e)
		}
	}
	return t.rekey(e)
}

func (s *step) run(e *event.Event) (goesOn bool, err error) {
	if is, err := isFor(s.when, e); err != nil || !is {
		return true, err
	}
	return s.apply(e)
}

// isFor says whether a step with this condition is for e.
func isFor(when *cel.Condition, e *event.Event) (bool, error) {
	if when == nil {
		return true, nil
	}
	return when.Holds(e)
}

// rekey gives e its new key.
func (t *transformer) rekey(e *event.Event) error {
	if t.key == nil {
		return nil
	}
	key, err := t.key.Of(e)
	switch {
	case err != nil:
		return fmt.Errorf("transform.key: %w", err)
	case key == "":
		return errors.New("transform.key: yields an empty text: an event has a key")
	}
	e.SetPartitionKey(key)
	return nil
}

// keepingKey changes e, and sets the partition key where the key would be another one by that. Where the stage gives a new key, the old one
// must not stay behind in the event.
func (t *transformer) keepingKey(e *event.Event, change func()) {
	if t.key != nil {
		change()
		return
	}
	key := strings.Clone(e.Key())
	change()
	if e.Key() != key {
		e.SetPartitionKey(key)
	}
}
