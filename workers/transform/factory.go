package transform

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of transform stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is transform.
func (factory) Kind() config.Kind { return config.KindTransform }

// Stateful is false: a step sees one event.
func (factory) Stateful(*config.StageConfig) bool { return false }

// New compiles the steps, and reads the keys of hashes.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Transform == nil {
		return nil, errors.New("stage config: transform is missing")
	}
	return newTransformer(s.Config.Transform)
}
