package analyze

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of analyze stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is analyze.
func (factory) Kind() config.Kind { return config.KindAnalyze }

// Stateful is true: a series is seen in one place.
func (factory) Stateful(c *config.StageConfig) bool { return c.Replays() }

// New makes the stage.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Analyze == nil {
		return nil, errors.New("stage config: analyze is missing")
	}
	set, err := settingsOf(s.Config.Analyze)
	if err != nil {
		return nil, err
	}
	a := newAnalyzer(s, set)
	if c := s.Config.Analyze.Inference; c != nil {
		if a.inference, err = newInference(c, s); err != nil {
			return nil, err
		}
	}
	return a, nil
}
