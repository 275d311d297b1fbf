package cel

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/interpreter"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// Env compiles expressions. To make one takes most of the time that a few expressions take.
type Env struct{ env *cel.Env }

// NewEnv makes an environment.
func NewEnv() (*Env, error) {
	env, err := celenv.NewBound(binding{})
	if err != nil {
		return nil, err
	}
	return &Env{env}, nil
}

// Condition is a compiled expression that holds for an event or does not. It is safe for concurrent use.
type Condition struct {
	native  Predicate // nil = the program decides
	program cel.Program
}

// Condition compiles an expression. It refuses what celenv.Compile refuses.
func (e *Env) Condition(expression string) (Condition, error) {
	ast, err := celenv.Compile(e.env, expression)
	if err != nil {
		return Condition{}, err
	}
	program, err := e.program(ast)
	if err != nil {
		return Condition{}, err
	}
	return Condition{native(ast.NativeRep().Expr()), program}, nil
}

// Native is the condition as a Go function, which saves the call of Holds where nanoseconds count; nil when it is
// left to CEL.
func (c *Condition) Native() Predicate { return c.native }

// Holds says whether the condition holds for an event. It is an error when it cannot be evaluated: when it
// asks for a key that a map does not have, for one.
func (c *Condition) Holds(e *event.Event) (bool, error) {
	if c.native != nil {
		return c.native(e), nil
	}
	return c.evaluate(e)
}

// evaluate has CEL say whether the condition holds. What is no bool does not.
func (c *Condition) evaluate(e *event.Event) (holds bool, err error) {
	out, _, err := c.program.Eval(activation{e})
	if err != nil {
		return false, err
	}
	holds, _ = out.Value().(bool)
	return holds, nil
}

// activation is the one variable that expressions see.
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
