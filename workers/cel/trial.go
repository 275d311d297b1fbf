package cel

import (
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"millrace.dev/millrace/workers/config/celenv"
	"millrace.dev/millrace/workers/event"
)

// Trial is a compiled expression of any type, for people who try expressions. Stages ask for a type: see Condition and Expression.
type Trial struct {
	// Type is the type that the expression yields, as CEL writes it.
	Type string
	// Cost is what one evaluation may cost.
	Cost celenv.Estimate

	program cel.Program
}

// Try compiles an expression of any type.
func (e *Env) Try(expression string) (Trial, error) {
	ast, cost, err := celenv.CompileAny(e.env, expression)
	if err != nil {
		return Trial{}, err
	}
	program, err := e.program(ast)
	if err != nil {
		return Trial{}, err
	}
	return Trial{Type: cel.FormatCELType(ast.OutputType()), Cost: cost, program: program}, nil
}

// Of is what the expression yields for an event, as encoding/json would read it from text, but with int64 for whole numbers. What JSON has no form for, such as a type
// or NaN, is its name in angle brackets.
func (t *Trial) Of(e *event.Event) (any, error) {
	v, _, err := t.program.Eval(activation{e})
	if err != nil {
		return nil, err
	}
	return shown(v)
}

func shown(v ref.Val) (any, error) {
	switch x := v.(type) {
	case *types.Optional:
		if !x.HasValue() {
			return "<none>", nil
		}
		return shown(x.GetValue())
	case types.Uint:
		return uint64(x), nil
	}
	if a, err := toAny(v); err == nil {
		return finite(a), nil
	}
	return "<" + v.Type().TypeName() + ">", nil
}

// finite names the doubles that JSON has no form for.
func finite(v any) any {
	switch x := v.(type) {
	case float64:
		switch {
		case math.IsNaN(x):
			return "<NaN>"
		case math.IsInf(x, 1):
			return "<Infinity>"
		case math.IsInf(x, -1):
			return "<-Infinity>"
		}
	case []any:
		for i := range x {
			x[i] = finite(x[i])
		}
	case map[string]any:
		for name := range x {
			x[name] = finite(x[name])
		}
	}
	return v
}
