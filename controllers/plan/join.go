package plan

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

// The defaults of a join, and the bounds of maxBytes.
const (
	defaultJoinDeadline = 30 * time.Second
	defaultJoinPending  = 100_000
	defaultJoinBytes    = 256 << 20
	minJoinBytes        = 1 << 20
	maxJoinBytes        = 16 << 30
)

func (c *computation) join(from *v1alpha1.StageNode, path *field.Path) *config.Join {
	s := from.Join
	to := &config.Join{
		Key: s.Key, Deadline: duration(s.Deadline, defaultJoinDeadline),
		OnTimeout:  config.JoinTimeout(or(s.OnTimeout, v1alpha1.JoinEmitPartial)),
		Merge:      config.JoinMerge(or(s.Merge, v1alpha1.JoinMerged)),
		MaxPending: int(or(s.MaxPending, defaultJoinPending)), MaxBytes: defaultJoinBytes,
	}
	if s.MaxBytes != nil {
		// A rule of the definition would cost more than the API server grants in a list.
		if n := s.MaxBytes.Value(); n < minJoinBytes || n > maxJoinBytes {
			c.refuse(field.Invalid(path.Child("maxBytes"), s.MaxBytes.String(), "must be from 1Mi to 16Gi"))
		}
		to.MaxBytes = int(s.MaxBytes.Value())
	}
	if s.Key != "" {
		c.checkExpressionFor(s.Key, celenv.String, path.Child("key"))
	}
	if p := s.Pairs; p != nil {
		c.checkExpression(p.First, path.Child("pairs", "first"))
		c.checkExpression(p.Second, path.Child("pairs", "second"))
		to.Pairs = &config.JoinPairs{First: p.First, Second: p.Second}
		to.Deadline, to.Merge = duration(p.Within, defaultJoinDeadline), config.JoinMerge(or(s.Merge, v1alpha1.JoinCollect))
		c.checkHorizon(to, path.Child("pairs", "within"))
		return to
	}
	c.checkHorizon(to, path.Child("deadline"))
	inputs := map[string]bool{}
	for _, name := range from.From {
		inputs[config.PortName(name)] = true
		if len(s.Expect) == 0 {
			to.Expect = append(to.Expect, config.PortName(name))
		}
	}
	for i, name := range s.Expect {
		if !inputs[config.PortName(name)] {
			c.refuse(field.Invalid(path.Child("expect").Index(i), name, fmt.Sprintf(
				"the stage does not read it, so no barrier would ever be complete: from has %s", strings.Join(from.From, ", "))))
		}
		to.Expect = append(to.Expect, config.PortName(name))
	}
	return to
}

// checkHorizon refuses a deadline that is too long for the streams: a worker that takes a lane over would rebuild a part of its state.
func (c *computation) checkHorizon(j *config.Join, path *field.Path) {
	if kept := duration(c.in.Pipeline.Spec.Streams.MaxAge, DefaultMaxAge).D(); kept <= j.Horizon() {
		c.refuse(field.Invalid(path, j.Deadline.D().String(), fmt.Sprintf(
			"a join rebuilds its state from the last %s of its inputs (three times this, and 5 s), and the streams keep messages for %s: raise spec.streams.maxAge, or set a shorter time",
			j.Horizon(), kept)))
	}
}
