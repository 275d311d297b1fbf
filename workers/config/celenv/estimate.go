package celenv

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// Estimate is what one evaluation may cost, in CEL cost units: of an event of ordinary size (texts of 1 KiB, 16 attributes), and of the largest one.
// Compile refuses an expression whose Largest is more than MaxCost.
type Estimate struct{ Ordinary, Largest uint64 }

// CompileAny parses and checks an expression of any type, and says what it may cost. It refuses what Compile refuses but for the type, and what
// yields a whole object, such as event.entity. It is for people who try
// expressions.
func CompileAny(env *cel.Env, expression string) (*cel.Ast, Estimate, error) {
	ast, err := checked(env, expression)
	if err != nil {
		return nil, Estimate{}, err
	}
	if t := ast.OutputType(); t.Kind() == types.StructKind {
		return nil, Estimate{}, fmt.Errorf("yields a whole %s: name one of its members", t.TypeName())
	}
	if err := affordable(env, ast); err != nil {
		return nil, Estimate{}, err
	}
	usual, err := costOf(env, ast, ordinary())
	if err != nil {
		return nil, Estimate{}, err
	}
	most, err := costOf(env, ast, largest())
	return ast, Estimate{usual, most}, err
}
