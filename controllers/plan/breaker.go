package plan

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
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
	switch {
	case !overflows(n.spec):
	case !n.kind.Overflows:
		c.refuse(field.Invalid(path.Child("whenOpen"), s.WhenOpen, string(n.kind.Kind)+" has no port overflow: leave whenOpen out. Its lane waits while the breaker is open, "+
			"its events wait in the stream before it, and nothing is lost"))
	default:
		to.Breaker.WhenOpen, to.Breaker.ReplayRate = config.WhenOpenOverflow, int(s.Replay.Rate)
		to.Breaker.ReplayShare = c.ratio(or(s.Replay.Share, "0.5"), path.Child("replay", "share"))
	}
}

// overflows says whether a manifest asks for an overflow.
func overflows(s *v1alpha1.StageNode) bool {
	return s.Breaker != nil && s.Breaker.WhenOpen == v1alpha1.WhenOpenOverflow
}

// overflows says whether the stage sends events aside while its breaker is open.
func (n *node) overflows() bool { return n.kind.Overflows && overflows(n.spec) }

// checkOverflow refuses an overflow where two lanes of a partition cannot be.
func (c *computation) checkOverflow(n *node) {
	if !n.overflows() {
		return
	}
	path := n.path.Child("breaker", "whenOpen")
	if n.chained() {
		c.refuse(field.Invalid(path, n.spec.Breaker.WhenOpen, fmt.Sprintf("the stage runs in the workers of %q, whose lanes have no overflow: leave placement out", n.head.name)))
	}
	for _, other := range c.all {
		if other != n && other.head == n {
			c.refuse(field.Invalid(other.withPath(), other.spec.Placement.With, fmt.Sprintf(
				"%q sends events aside while its breaker is open (breaker.whenOpen), so no other stage runs in its workers: leave placement out", n.name)))
		}
	}
	if n.follows {
		c.refuse(field.Invalid(path, n.spec.Breaker.WhenOpen, "a join behind the stage waits for watermarks, which do not wait for what is in the overflow: "+
			"use Fail with onIncomplete: Hold, or put the stage behind the join"))
	}
}

// replay adds the overflow of a stage to its inputs.
func (c *computation) replay(s *Stage, n *node, streams []*stream) {
	in := input{source: n.name, port: config.PortOverflow, path: n.path.Child("breaker", "whenOpen")}
	st := find(streams, in)
	if !n.overflows() || st == nil {
		return
	}
	c.addInput(s, in, st, config.Input{
		From: in.String(), Stream: st.Name, Subject: st.output(n.name, config.PortOverflow).Subject, Repartitioned: true, Overflow: true,
		Durable: durableName(c.in.Pipeline.Namespace, c.in.Pipeline.Name, s.Name, st.source(in), s.Lanes),
	})
}

func (c *computation) ratio(text string, path *field.Path) float64 {
	r, err := strconv.ParseFloat(text, 64)
	if err != nil || !(r > 0 && r <= 1) {
		c.refuse(field.Invalid(path, text, "must be a decimal above 0 and up to 1"))
	}
	return r
}
