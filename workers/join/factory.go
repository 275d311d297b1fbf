package join

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of join stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is join.
func (factory) Kind() config.Kind { return config.KindJoin }

// Stateful is true: barriers wait.
func (factory) Stateful(*config.StageConfig) bool { return true }

// New makes a join without barriers.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Join == nil {
		return nil, errors.New("stage config: join is missing")
	}
	return newJoin(s)
}
