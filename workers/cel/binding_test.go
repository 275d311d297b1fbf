package cel

import (
	"testing"

	"millrace.dev/millrace/workers/config/celenv"
)

// TestEveryDeclaredFieldIsBound: what the planner lets an expression name, a worker can read.
func TestEveryDeclaredFieldIsBound(t *testing.T) {
	for _, object := range []string{celenv.Event, celenv.Entity, celenv.Metric, celenv.Semantic} {
		for name := range celenv.Fields(object) {
			f, ok := fieldsOf(object)[name]
			if !ok || f.get == nil || f.set == nil {
				t.Errorf("%s.%s is declared for expressions but not bound", object, name)
			}
		}
	}
}
