package experiment

import (
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

func newExperiment(s stage.Settings) (*experiment, error) {
	c := s.Config.Experiment
	e := &experiment{attribute: "experiment." + s.Config.Stage}
	var err error
	if e.mirror, err = c.Mode.Mirrors(); err != nil {
		return nil, fmt.Errorf("experiment.mode: %w", err)
	}
	if c.Key != "" {
		env, err := cel.NewEnv()
		if err != nil {
			return nil, err
		}
		key, err := cel.Compile[string](env, c.Key)
		if err != nil {
			return nil, fmt.Errorf("experiment.key: %w", err)
		}
		e.key = &key
	}
	for i, v := range c.Variants {
		port, err := s.Port(v.Name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("experiment.variants[%d].name: %w", i, err)
		case v.Weight < 0 || v.Weight > config.MaxWeight:
			return nil, fmt.Errorf("experiment.variants[%d].weight: is %d, must be 0 to %d", i, v.Weight, config.MaxWeight)
		case v.Weight == 0:
			continue
		}
		e.all |= port
		// The name of the stage keeps two experiments on the same keys independent.
		seed := xxh3.HashString(s.Config.Stage + "/" + v.Name)
		e.variants = append(e.variants, variant{port, event.StringValue(v.Name), float64(v.Weight), seed})
	}
	if len(e.variants) == 0 {
		return nil, errors.New("experiment.variants: all weights are 0: no event could go anywhere")
	}
	return e, nil
}
