package compare

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of compare stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is compare.
func (factory) Kind() config.Kind { return config.KindCompare }

// Stateful is true: all variants are counted in one place.
func (factory) Stateful(c *config.StageConfig) bool { return c.Replays() }

// New makes the stage.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Compare == nil {
		return nil, errors.New("stage config: compare is missing")
	}
	set, err := settingsOf(s.Config)
	if err != nil {
		return nil, err
	}
	return newComparer(s, set), nil
}
