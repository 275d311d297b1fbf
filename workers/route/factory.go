package route

import (
	"errors"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of route stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is route.
func (factory) Kind() config.Kind { return config.KindRoute }

// Stateful is false: a rule sees one event.
func (factory) Stateful(*config.StageConfig) bool { return false }

// New compiles the rules.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Route == nil {
		return nil, errors.New("stage config: route is missing")
	}
	r, err := newRouter(s)
	if err != nil {
		return nil, err
	}
	return r, nil
}
