package validate

import (
	"fmt"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// NewFactory returns the factory of validate stages.
func NewFactory() stage.Factory { return factory{} }

type factory struct{}

// Kind is validate.
func (factory) Kind() config.Kind { return config.KindValidate }

// Stateful is true with dedupe: duplicates must meet in one place.
func (factory) Stateful(c *config.StageConfig) bool { return c.Replays() }

// New compiles the rules.
func (factory) New(s stage.Settings) (stage.Stage, error) {
	if s.Config.Validate == nil {
		return nil, fmt.Errorf("stage config: validate is missing")
	}
	return newValidator(s)
}
