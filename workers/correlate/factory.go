package correlate

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of correlate stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is correlate.
func (factory) Kind() config.Kind { return config.KindCorrelate }

// Stateful is true: what belongs together must meet in one place.
func (factory) Stateful(c *config.StageConfig) bool { return c.Replays() }

// New makes the stage.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Correlate == nil {
		return nil, errors.New("stage config: correlate is missing")
	}
	set, err := settingsOf(s.Config.Correlate)
	if err != nil {
		return nil, err
	}
	return newCorrelator(s, set), nil
}
