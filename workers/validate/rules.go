package validate

import (
	"fmt"

	"millrace.dev/millrace/workers/cel"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
)

// rules are compiled. They are safe for concurrent use.
type rules struct{ list []rule }

type rule struct {
	native    cel.Predicate // nil = the condition decides
	condition cel.Condition
	failed    error // what to say when the condition does not hold
	text      string
}

func compile(in []config.Rule) (*rules, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	r := &rules{}
	for i, c := range in {
		condition, err := env.Condition(c.Expression)
		if err != nil {
			return nil, fmt.Errorf("validate.rules[%d].expression: %w", i, err)
		}
		failed := fmt.Errorf("%s (rule %d: %s)", c.Message, i, c.Expression)
		if c.Message == "" {
			failed = fmt.Errorf("rule %d is false: %s", i, c.Expression)
		}
		r.list = append(r.list, rule{condition.Native(), condition, failed, c.Expression})
	}
	return r, nil
}

// check evaluates the rules in order, up to the first that does not hold.
func (r *rules) check(e *event.Event) (reason string, err error) {
	for i := range r.list {
		rule := &r.list[i]
		var holds bool
		if rule.native != nil {
			holds = rule.native(e)
		} else if holds, err = rule.condition.Holds(e); err != nil {
			return reasonError, fmt.Errorf("rule %d cannot be evaluated on this event: %w (%s)", i, err, rule.text)
		}
		if !holds {
			return reasonRule, rule.failed
		}
	}
	return "", nil
}
