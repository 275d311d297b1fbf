package plan

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

// maxVariants is how many variants an experiment has at most, as its schema says.
const maxVariants = 16

func (c *computation) compare(from []string, s *v1alpha1.CompareSpec, path *field.Path) *config.Compare {
	to := &config.Compare{
		Mode: config.ExperimentMode(or(s.Mode, v1alpha1.ExperimentSplit)), Outcome: s.Outcome, Score: s.Score, Key: s.Key,
		Interval: duration(s.Interval, 5*time.Minute), EffectPercent: int(or(s.EffectPercent, 10)), FalseAlarmPercent: int(or(s.FalseAlarmPercent, 5)),
	}
	c.checkExpression(s.Outcome, path.Child("outcome"))
	if s.Score != "" {
		c.checkExpressionFor(s.Score, celenv.Double, path.Child("score"))
	}
	if s.Key != "" {
		c.checkExpressionFor(s.Key, celenv.String, path.Child("key"))
	}
	if n := len(from); n < 2 || n > maxVariants {
		c.refuse(field.Invalid(path, n, fmt.Sprintf("the stage has %d entries in from: it compares 2 to %d variants, one for each", n, maxVariants)))
		return to
	}
	to.Control = or(s.Control, from[0])
	if !slices.Contains(from, to.Control) {
		c.refuse(field.NotSupported(path.Child("control"), to.Control, from))
	}
	to.Control = config.PortName(to.Control)
	return to
}
