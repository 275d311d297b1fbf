package validate

import (
	"context"
	"fmt"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// The reasons of dead letters.
const (
	reasonMissing = "missing_attribute"
	reasonSkew    = "clock_skew"
	reasonRule    = "rule_failed"
	reasonError   = "rule_error"
)

type validator struct {
	checks
	seen *dedupe // nil = off
}

// checks are what a valid event passes; they may change while the stage is at work.
type checks struct {
	required          []attribute
	maxFuture, maxAge time.Duration
	rules             *rules
}

func newValidator(s stage.Settings) (*validator, error) {
	made, err := newChecks(s.Config.Validate)
	if err != nil {
		return nil, err
	}
	v := &validator{checks: made}
	if d := s.Config.Validate.Dedupe; d != nil {
		v.seen = newDedupe(*d, s)
	}
	return v, nil
}

func newChecks(c *config.Validate) (made checks, err error) {
	if err := check(c); err != nil {
		return made, err
	}
	made = checks{maxFuture: c.MaxFuture.D(), maxAge: c.MaxAge.D()}
	if made.required, err = required(c); err != nil {
		return made, err
	}
	made.rules, err = compile(c.Rules)
	return made, err
}

// Reload returns a stage with the checks of c that knows the ids that this one has seen.
func (v *validator) Reload(c *config.StageConfig) (stage.Stage, error) {
	made, err := newChecks(c.Validate)
	if err != nil {
		return nil, err
	}
	return &validator{made, v.seen}, nil
}

// Start has nothing to wait for.
func (*validator) Start(context.Context) error { return nil }

// Shutdown holds nothing.
func (*validator) Shutdown(context.Context) error { return nil }

// Horizon is as far back as a duplicate is looked for, and the second by which a clock may stand still.
func (v *validator) Horizon() time.Duration {
	if v.seen == nil {
		return 0
	}
	return time.Duration(v.seen.window+slack) * time.Millisecond
}

// Process decides about every event of b.
func (v *validator) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		if reason, err := v.check(&b.Events[i], b.Now); err != nil {
			b.DeadLetter(i, reason, err)
		}
	}
	// Only now, when no rule can panic any more: the engine then tries the events one by one.
	if v.seen != nil && len(b.Events) > 0 {
		v.dedupe(b)
	}
	return nil
}

// dedupe ends the duplicates among the valid events of b.
func (v *validator) dedupe(b *stage.Batch) {
	v.seen.advance(b.Events[0].Origin.Input, b.Now)
	v.seen.mark(b)
	v.seen.entries.Set(float64(v.seen.claims.size))
}

func (v *checks) check(e *event.Event, now time.Time) (reason string, err error) {
	for _, a := range v.required {
		if !a.set(e) {
			return reasonMissing, fmt.Errorf("attribute %s is not set", a.name)
		}
	}
	if err := v.skew(e, now); err != nil {
		return reasonSkew, err
	}
	return v.rules.check(e)
}

// skew compares the event time with the stream time. An event without a time has none to compare.
func (v *checks) skew(e *event.Event, now time.Time) error {
	if e.Time == 0 || (v.maxFuture == 0 && v.maxAge == 0) {
		return nil
	}
	age := now.Sub(time.Unix(0, e.Time))
	switch {
	case v.maxFuture > 0 && age < -v.maxFuture:
		return fmt.Errorf("time is %s ahead of the clock, at most %s are allowed", (-age).Round(time.Millisecond), v.maxFuture)
	case v.maxAge > 0 && age > v.maxAge:
		return fmt.Errorf("time is %s old, at most %s are allowed", age.Round(time.Millisecond), v.maxAge)
	}
	return nil
}
