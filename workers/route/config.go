package route

import (
	"fmt"
	"math"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

func newRouter(s stage.Settings) (*router, error) {
	c := s.Config.Route
	r := &router{all: c.Mode == config.RouteAll}
	if !r.all && c.Mode != config.RouteFirst {
		return nil, fmt.Errorf("route.mode: is %q, must be %s or %s", c.Mode, config.RouteFirst, config.RouteAll)
	}
	var err error
	if c.Default != "" {
		if r.rest, err = s.Port(c.Default); err != nil {
			return nil, fmt.Errorf("route.default: %w", err)
		}
	}
	r.rules, err = compile(s)
	return r, err
}

func compile(s stage.Settings) ([]rule, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	var rules []rule
	for i, c := range s.Config.Route.Rules {
		r := rule{name: c.Port, text: c.Expression, seed: xxh3.HashString(c.Port)}
		if r.port, err = s.Port(c.Port); err != nil {
			return nil, fmt.Errorf("route.rules[%d].port: %w", i, err)
		}
		if r.condition, err = env.Condition(c.Expression); err != nil {
			return nil, fmt.Errorf("route.rules[%d].expression: %w", i, err)
		}
		if !(c.Sample >= 0 && c.Sample < 1) {
			return nil, fmt.Errorf("route.rules[%d].sample: is %g, must be above 0 and below 1, or 0 for all", i, c.Sample)
		}
		r.below = uint64(c.Sample * math.MaxUint64)
		rules = append(rules, r)
	}
	return rules, nil
}
