package breaker

import (
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are of all breakers of a stage.
type metrics struct {
	states, opened       *prometheus.GaugeVec
	transitions, refused *prometheus.CounterVec
}

// newMetrics registers the metrics.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		states: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_breaker_state", Help: "1 for the state that the circuit breaker of a target is in: closed, open or half_open.",
		}, []string{"target", "state"}),
		opened: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_breaker_open_timestamp_seconds", Help: "When the circuit breaker of a target that is not closed was closed last, in Unix seconds; 0 while it is closed.",
		}, []string{"target"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_breaker_transitions_total", Help: "Changes of the circuit breaker of a target, by the state that it came to.",
		}, []string{"target", "state"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_breaker_refused_total", Help: "Calls that the circuit breaker of a target did not let through.",
		}, []string{"target"}),
	}
	for _, c := range []prometheus.Collector{m.states, m.opened, m.transitions, m.refused} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of breakers: %w", err)
		}
	}
	return m, nil
}

// changed counts a transition.
func (m *metrics) changed(target string, to circuitbreaker.State, opened time.Time) {
	m.transitions.WithLabelValues(target, label(to)).Inc()
	m.state(target, to, opened)
}

func (m *metrics) state(target string, now circuitbreaker.State, opened time.Time) {
	since := 0.0
	if !opened.IsZero() {
		since = float64(opened.UnixMilli()) / 1000
	}
	m.opened.WithLabelValues(target).Set(since)
	for _, s := range []circuitbreaker.State{circuitbreaker.ClosedState, circuitbreaker.OpenState, circuitbreaker.HalfOpenState} {
		value := 0.0
		if s == now {
			value = 1
		}
		m.states.WithLabelValues(target, label(s)).Set(value)
	}
}

func label(s circuitbreaker.State) string {
	switch s {
	case circuitbreaker.OpenState:
		return "open"
	case circuitbreaker.HalfOpenState:
		return "half_open"
	}
	return "closed"
}
