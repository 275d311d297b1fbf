package enrich

import (
	"context"
	"fmt"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// Open opens the source of the Kubernetes context. It returns nil when there is neither a
// cluster nor a snapshot: look-ups are then a miss, and the stage says so once in its log.
type Open func(ctx context.Context) (Source, error)

// NewFactory returns the factory of enrich stages. open is called when such a stage starts,
// if its kubernetes enricher is on.
func NewFactory(open Open) stage.Factory { return factory{open} }

type factory struct{ open Open }

// Kind is config.KindEnrich.
func (factory) Kind() config.Kind { return config.KindEnrich }

// Stateful is false: enrich keeps nothing between events but a cache.
func (factory) Stateful(c *config.StageConfig) bool { return c.Replays() }

// New builds an enrich stage.
func (f factory) New(s stage.Settings) (stage.Stage, error) {
	read, err := readConfig(s.Config.Enrich)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", s.Config.Stage, err)
	}
	return newEnricher(f.open, read, s)
}
