package validate

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/interpreter"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// rules are compiled CEL expressions. They are safe for concurrent use.
type rules struct{ list []rule }

type rule struct {
	native  predicate // nil = the program decides
	program cel.Program
	failed  error // what to say when the expression is false
	text    string
}

func compile(in []config.Rule) (*rules, error) {
	env, err := celenv.NewBound(binding{})
	if err != nil {
		return nil, err
	}
	r := &rules{}
	for i, c := range in {
		ast, err := celenv.Compile(env, c.Expression)
		if err != nil {
			return nil, fmt.Errorf("validate.rules[%d].expression: %w", i, err)
		}
		program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			return nil, fmt.Errorf("validate.rules[%d].expression: %w", i, err)
		}
		failed := fmt.Errorf("%s (rule %d: %s)", c.Message, i, c.Expression)
		if c.Message == "" {
			failed = fmt.Errorf("rule %d is false: %s", i, c.Expression)
		}
		r.list = append(r.list, rule{native(ast.NativeRep().Expr()), program, failed, c.Expression})
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
		} else if holds, err = rule.evaluate(e); err != nil {
			return reasonError, fmt.Errorf("rule %d cannot be evaluated on this event: %w (%s)", i, err, rule.text)
		}
		if !holds {
			return reasonRule, rule.failed
		}
	}
	return "", nil
}

// evaluate has CEL say whether the rule holds. What is no bool does not.
func (r *rule) evaluate(e *event.Event) (holds bool, err error) {
	out, _, err := r.program.Eval(activation{e})
	if err != nil {
		return false, err
	}
	holds, _ = out.Value().(bool)
	return holds, nil
}

// activation is the one variable that rules see.
type activation struct{ event *event.Event }

// ResolveName finds the variable event.
func (a activation) ResolveName(name string) (any, bool) {
	if name == celenv.Variable {
		return a.event, true
	}
	return nil, false
}

// Parent is nil: there is no outer scope.
func (activation) Parent() interpreter.Activation { return nil }
