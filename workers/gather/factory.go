package gather

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/breaker"
)

// NewFactory returns the factory of gather stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is gather.
func (factory) Kind() config.Kind { return config.KindGather }

// Stateful is false: what is known of an event is in its round.
func (factory) Stateful(*config.StageConfig) bool { return false }

// New makes a stage that asks nobody yet.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Gather == nil {
		return nil, errors.New("stage config: gather is missing")
	}
	if err := check(s.Config.Gather); err != nil {
		return nil, err
	}
	m, err := newMetrics(s.Metrics)
	if err != nil {
		return nil, err
	}
	breakers, err := breaker.NewSet(s.Config.Breaker, s.Now, s.Metrics)
	if err != nil {
		return nil, err
	}
	a := &asker{now: s.Now, metrics: m, size: s.Config.Gather.MaxEvents, breakers: breakers, aside: s.Config.Overflows()}
	if s.Config.Gather.NATS != nil {
		a.targets = []target{newNATS(s, m, breakers)}
	} else {
		a.targets = newEndpoints(s, breakers)
	}
	lanes := s.Lanes
	if a.aside { // each has another one beside it
		lanes *= 2
	}
	return &gatherer{rules: rulesOf(s.Config), asker: a, breakers: breakers, inFlight: inFlight(s.Config.Gather.Timeout.D(), lanes)}, nil
}
