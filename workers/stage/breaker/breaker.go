package breaker

import (
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"millrace.dev/millrace/workers/config"
)

// Breaker is that of one target. Calls may come at the same time. A nil Breaker lets every call through.
type Breaker struct {
	target    string
	now       func() time.Time
	slowAfter time.Duration
	// circuit decides. slow is a second window, of the calls that are slow: when it opens, the circuit does.
	circuit, slow circuitbreaker.CircuitBreaker[any]
	metrics       *Metrics
}

// New makes the breaker of a target; nil without settings.
func New(c *config.Breaker, target string, now func() time.Time, m *Metrics) *Breaker {
	if c == nil {
		return nil
	}
	b := &Breaker{target: target, now: now, slowAfter: c.SlowAfter.D(), metrics: m}
	m.state(target, circuitbreaker.ClosedState)
	b.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(c.FailureRatio, uint(c.MinCalls), c.Window.D()).
		WithSuccessThresholdRatio(trialsNeeded(c), uint(c.TrialCalls)).
		WithDelay(c.OpenFor.D()).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { m.changed(target, e.NewState) }).
		Build()
	if b.slowAfter > 0 {
		b.slow = circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(c.SlowRatio, uint(c.MinCalls), c.Window.D()).
			Build()
	}
	return b
}

// trialsNeeded is how many trial calls have to be good.
func trialsNeeded(c *config.Breaker) uint {
	bad := int(c.FailureRatio * float64(c.TrialCalls))
	return uint(max(c.TrialCalls-bad, 1))
}

// Allow says whether a call may go through. If so, Done has to be called when it is over.
func (b *Breaker) Allow() bool {
	if b == nil || b.circuit.TryAcquirePermit() {
		return true
	}
	b.metrics.refused.WithLabelValues(b.target).Inc()
	return false
}

// Done says how a call went that began then.
func (b *Breaker) Done(began time.Time, good bool) {
	if b == nil {
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

// Cancel says that nobody knows how a call went. A trial call counts as bad, so that others are made.
func (b *Breaker) Cancel() {
	if b != nil && b.circuit.IsHalfOpen() {
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

// Note says that the breaker is not closed; empty = it is.
func (b *Breaker) Note() string {
	if b == nil {
		return ""
	}
	switch b.circuit.State() {
	case circuitbreaker.OpenState:
		return fmt.Sprintf("the circuit breaker of %s is open, for another %s", b.target, b.circuit.RemainingDelay().Round(time.Millisecond))
	case circuitbreaker.HalfOpenState:
		return fmt.Sprintf("the circuit breaker of %s is half-open", b.target)
	}
	return ""
}
