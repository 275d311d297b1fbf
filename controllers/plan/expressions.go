package plan

import (
	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/workers/config/celenv"
)

// Expressions remember what was said of expressions about events: to compile one takes half a millisecond. They are for several plans that
// are made one after another.
type Expressions struct {
	env   *cel.Env
	known map[string]expression
}

// expression is what is said of one.
type expression struct {
	err  error
	dear string
}

// NewExpressions remembers nothing yet. env is celenv.New(), which may be shared.
func NewExpressions(env *cel.Env) *Expressions {
	return &Expressions{env: env, known: map[string]expression{}}
}

func (e *Expressions) check(text string) expression {
	if found, ok := e.known[text]; ok {
		return found
	}
	var said expression
	ast, err := celenv.Compile(e.env, text)
	if said.err = err; err == nil {
		said.dear = celenv.Dear(e.env, ast)
	}
	e.known[text] = said
	return said
}

// checkExpression refuses an expression about events that a worker could not run, of whatever kind, and warns of one that takes
// long.
func (c *computation) checkExpression(text string, path *field.Path) {
	if c.in.Expressions == nil {
		env, err := celenv.New()
		if err != nil {
			c.refuse(field.InternalError(path, err))
			return
		}
		c.in.Expressions = NewExpressions(env)
	}
	switch said := c.in.Expressions.check(text); {
	case said.err != nil:
		c.refuse(field.Invalid(path, text, said.err.Error()))
	case said.dear != "":
		c.warnings = append(c.warnings, path.String()+": "+said.dear)
	}
}
