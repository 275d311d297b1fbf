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
	known map[question]expression
}

// question is what is asked about an expression: whether it yields that.
type question struct {
	text string
	want celenv.Result
}

// expression is what is said of one.
type expression struct {
	err  error
	dear string
}

// NewExpressions remembers nothing yet. env is celenv.New(), which may be shared.
func NewExpressions(env *cel.Env) *Expressions {
	return &Expressions{env: env, known: map[question]expression{}}
}

func (e *Expressions) check(asked question) expression {
	if found, ok := e.known[asked]; ok {
		return found
	}
	var said expression
	ast, err := celenv.CompileFor(e.env, asked.text, asked.want)
	if said.err = err; err == nil {
		said.dear = celenv.Dear(e.env, ast)
	}
	e.known[asked] = said
	return said
}

// checkExpression refuses a condition about events that a worker could not run, of whatever kind, and warns of one that takes
// long.
func (c *computation) checkExpression(text string, path *field.Path) {
	c.checkExpressionFor(text, celenv.Bool, path)
}

// checkExpressionFor is checkExpression for one that yields something else.
func (c *computation) checkExpressionFor(text string, want celenv.Result, path *field.Path) {
	if c.in.Expressions == nil {
		env, err := celenv.New()
		if err != nil {
			c.refuse(field.InternalError(path, err))
			return
		}
		c.in.Expressions = NewExpressions(env)
	}
	switch said := c.in.Expressions.check(question{text, want}); {
	case said.err != nil:
		c.refuse(field.Invalid(path, text, said.err.Error()))
	case said.dear != "":
		c.warnings = append(c.warnings, path.String()+": "+said.dear)
	}
}
