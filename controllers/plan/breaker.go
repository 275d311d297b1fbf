package plan

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/workers/config"
)

// breaker reads the breaker of a stage whose settings are in to; a stage that calls nothing has none.
func (c *computation) breaker(n *node, to *config.StageConfig) {
	s, path := n.spec.Breaker, n.path.Child("breaker")
	if s == nil || n.kind.Kind == "" {
		return
	}
	of := *to
	of.Kind = n.kind.Kind // CheckStage has no kind in to
	if !of.Calls() {
		c.refuse(field.Forbidden(path, "the stage calls nothing that could be away: a breaker is for gather, and for sink with http"))
		return
	}
	to.Breaker = &config.Breaker{
		FailureRatio: c.ratio(or(s.FailureRatio, "0.5"), path.Child("failureRatio")), SlowAfter: duration(s.SlowAfter, 0),
		Window: duration(s.Window, 10*time.Second), MinCalls: int(or(s.MinCalls, 20)), OpenFor: duration(s.OpenFor, 5*time.Second), TrialCalls: int(or(s.TrialCalls, 5)),
	}
	if s.SlowAfter != nil {
		to.Breaker.SlowRatio = c.ratio(or(s.SlowRatio, "0.8"), path.Child("slowRatio"))
	}
}

func (c *computation) ratio(text string, path *field.Path) float64 {
	r, err := strconv.ParseFloat(text, 64)
	if err != nil || !(r > 0 && r <= 1) {
		c.refuse(field.Invalid(path, text, "must be a decimal above 0 and up to 1"))
	}
	return r
}
