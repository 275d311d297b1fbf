package plan

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/workers/config/celenv"
)

// checkExpression refuses an expression about events that a worker could not run, of whatever kind, and warns of one that takes
// long.
func (c *computation) checkExpression(expression string, path *field.Path) {
	if c.expressions == nil {
		env, err := celenv.New()
		if err != nil {
			c.refuse(field.InternalError(path, err))
			return
		}
		c.expressions = env
	}
	ast, err := celenv.Compile(c.expressions, expression)
	if err != nil {
		c.refuse(field.Invalid(path, expression, err.Error()))
		return
	}
	if dear := celenv.Dear(c.expressions, ast); dear != "" {
		c.warnings = append(c.warnings, path.String()+": "+dear)
	}
}
