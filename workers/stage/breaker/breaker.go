package breaker

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"millrace.dev/millrace/workers/config"
)

// Breaker is that of one target. Calls may come at the same time. A nil Breaker lets every call through.
type Breaker struct {
	target    string
	now       func() time.Time
	slowAfter time.Duration
	metrics   *metrics

	// mu is held while calls are allowed and counted, so that no other changes the state in between.
	mu sync.Mutex
	// changed is when the state last changed: what calls say that began before is of another state.
	changed time.Time
	// opened is when it was closed last; zero = it is.
	opened time.Time
	// circuit decides. slow is a second window, of the calls that are slow: when it opens, the circuit does.
	circuit, slow circuitbreaker.CircuitBreaker[any]
}

// newBreaker makes the breaker of a target; nil without settings.
func newBreaker(c *config.Breaker, target string, now func() time.Time, m *metrics) *Breaker {
	if c == nil {
		return nil
	}
	b := &Breaker{target: target, now: now, slowAfter: c.SlowAfter.D(), metrics: m}
	m.state(target, circuitbreaker.ClosedState, time.Time{})
	b.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(c.FailureRatio, uint(c.MinCalls), c.Window.D()).
		WithSuccessThresholdRatio(trialsNeeded(c), uint(c.TrialCalls)).
		WithDelay(c.OpenFor.D()).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { // under mu
			b.changed = now()
			switch {
			case e.NewState == circuitbreaker.ClosedState:
				b.opened = time.Time{}
			case b.opened.IsZero():
				b.opened = b.changed
			}
			m.changed(target, e.NewState, b.opened)
		}).
		Build()
	if b.slowAfter > 0 {
		b.slow = circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(c.SlowRatio, uint(c.MinCalls), c.Window.D()).
			Build()
	}
	return b
}

// trialsNeeded is how many trial calls have to be good: so many that the bad ones do not reach the ratio.
func trialsNeeded(c *config.Breaker) uint {
	const rounding = 1e-9
	bad := int(math.Ceil(c.FailureRatio*float64(c.TrialCalls)-rounding)) - 1
	return uint(max(c.TrialCalls-bad, 1))
}

// Allow says why a call may not go through. If it may, the call begins after that, and Done or Cancel has to be called when it is over.
func (b *Breaker) Allow() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.circuit.TryAcquirePermit() {
		return nil
	}
	b.metrics.refused.WithLabelValues(b.target).Inc()
	return errors.New(b.note())
}

// Refuses says why calls are sure not to go through; nil = they may. Calls that are no trial go through only while it is closed; those that are will be
// made again, and are not counted.
func (b *Breaker) Refuses(calls int, trial bool) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.circuit.IsClosed() || trial && !(b.circuit.IsOpen() && b.circuit.RemainingDelay() > 0) {
		return nil
	}
	if !trial {
		b.metrics.refused.WithLabelValues(b.target).Add(float64(calls))
	}
	return errors.New(b.note())
}

// Closed says whether it is closed.
func (b *Breaker) Closed() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.circuit.IsClosed()
}

// Done says how a call went that began then. It does not count when the state has changed since: a late failure of the time before would be
// taken for that of a trial call.
func (b *Breaker) Done(began time.Time, good bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if began.Before(b.changed) {
		return
	}
	slow := b.slow != nil && b.now().Sub(began) >= b.slowAfter
	if b.circuit.IsHalfOpen() {
		good = good && !slow
	} else if b.tooSlow(slow) {
		b.circuit.Open()
	}
	if good {
		b.circuit.RecordSuccess()
	} else {
		b.circuit.RecordFailure()
	}
}

// Cancel says that nobody knows how a call went that began then. A trial call counts as bad, so that others are made.
func (b *Breaker) Cancel(began time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !began.Before(b.changed) && b.circuit.IsHalfOpen() {
		b.circuit.RecordFailure()
	}
}

// tooSlow counts a call, and says whether too many of the window are slow. Then the window begins anew.
func (b *Breaker) tooSlow(slow bool) bool {
	if b.slow == nil {
		return false
	}
	if slow {
		b.slow.RecordFailure()
	} else {
		b.slow.RecordSuccess()
	}
	if b.slow.IsClosed() {
		return false
	}
	b.slow.Close()
	return true
}

// Open says that the breaker is not closed, and since when; false = it is.
func (b *Breaker) Open() (open config.OpenBreaker, ok bool) {
	if b == nil {
		return open, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opened.IsZero() {
		return open, false
	}
	return config.OpenBreaker{Target: b.target, Since: b.opened.UTC().Truncate(time.Second)}, true
}

// Note says that the breaker is not closed; empty = it is.
func (b *Breaker) Note() string {
	if b == nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.note()
}

func (b *Breaker) note() string {
	switch b.circuit.State() {
	case circuitbreaker.OpenState:
		left := b.circuit.RemainingDelay().Round(time.Millisecond)
		if left <= 0 {
			return fmt.Sprintf("the circuit breaker of %s is open; the next call is a trial", b.target)
		}
		return fmt.Sprintf("the circuit breaker of %s is open, for another %s", b.target, left)
	case circuitbreaker.HalfOpenState:
		return fmt.Sprintf("the circuit breaker of %s is half-open", b.target)
	}
	return ""
}
