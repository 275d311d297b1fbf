package experiment

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of experiment stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is experiment.
func (factory) Kind() config.Kind { return config.KindExperiment }

// Stateful is false: the variant follows from the key.
func (factory) Stateful(*config.StageConfig) bool { return false }

// New compiles the key.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Experiment == nil {
		return nil, errors.New("stage config: experiment is missing")
	}
	e, err := newExperiment(s)
	if err != nil {
		return nil, err
	}
	return e, nil
}
