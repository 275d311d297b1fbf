package compare

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
)

// settings are those of a stage, compiled.
type settings struct {
	mirror bool
	// variants are the names of the inputs, in the order of Origin.Input; control is the index of one of them.
	variants []string
	control  int
	outcome  cel.Condition
	score    *cel.Expression[float64] // nil = no score
	key      *cel.Expression[string]  // nil = the key of the event
	interval time.Duration
	effect   float64 // relative
	alpha    float64 // for one candidate
	// text is what the sums depend on.
	text string
}

func settingsOf(c *config.StageConfig) (s settings, err error) {
	o := c.Compare
	if len(c.Inputs) < 2 {
		return s, errors.New("compare: needs two inputs, one for each variant")
	}
	for _, in := range c.Inputs {
		s.variants = append(s.variants, config.BranchName(in.From))
	}
	if s.control = slices.Index(s.variants, config.BranchName(o.Control)); s.control < 0 {
		return s, fmt.Errorf("compare.control: %q is none of the inputs %s", o.Control, strings.Join(s.variants, ", "))
	}
	if s.mirror, err = o.Mode.Mirrors(); err != nil {
		return s, fmt.Errorf("compare.mode: %w", err)
	}
	if err := s.compile(o); err != nil {
		return s, err
	}
	s.interval = o.Interval.D()
	if s.interval < time.Second || s.interval%time.Second != 0 {
		return s, fmt.Errorf("compare.interval: is %s, must be whole seconds", s.interval)
	}
	if o.EffectPercent < 1 || o.FalseAlarmPercent < 1 || o.FalseAlarmPercent > 50 {
		return s, fmt.Errorf("compare: effectPercent %d, falseAlarmPercent %d: at least 1, and no more than 50 false alarms", o.EffectPercent, o.FalseAlarmPercent)
	}
	s.effect = float64(o.EffectPercent) / 100
	s.alpha = float64(o.FalseAlarmPercent) / 100 / float64(len(s.variants)-1)
	s.text = fmt.Sprintf("%+v of %s", *o, strings.Join(s.variants, " "))
	return s, nil
}

func (s *settings) compile(o *config.Compare) error {
	env, err := cel.NewEnv()
	if err != nil {
		return err
	}
	if s.outcome, err = env.Condition(o.Outcome); err != nil {
		return fmt.Errorf("compare.outcome: %w", err)
	}
	if o.Score != "" {
		score, err := cel.Compile[float64](env, o.Score)
		if err != nil {
			return fmt.Errorf("compare.score: %w", err)
		}
		s.score = &score
	}
	if o.Key != "" {
		key, err := cel.Compile[string](env, o.Key)
		if err != nil {
			return fmt.Errorf("compare.key: %w", err)
		}
		s.key = &key
	}
	return nil
}
