package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Lanes of a stage are for its lifetime. Its consumers are named by them, so in other lanes it would begin again at the first stored
// event; frames would be told from those that are stored, but dead letters and insights, whose subjects are those of lanes, would not.

// LanesChange says why a stage that runs in some number of lanes cannot have those that are planned for it; empty when it has them.
func LanesChange(stage string, was, now int) string {
	if was == now {
		return ""
	}
	return fmt.Sprintf("changes the number of lanes of stage %s from %d to %d: the stage would begin again at the oldest stored event, and store its "+
		"dead letters and insights a second time. Undo the change, or name the stage otherwise: the one of the old name then goes when it has "+
		"processed what is stored for it, and the new one begins at the oldest stored event", quote(stage), was, now)
}

// checkLanes refuses stages that run in another number of lanes than they would have.
func (c *computation) checkLanes(n *node, lanes int) {
	object := n.object
	if object == "" {
		object = ChildName(c.in.Pipeline.Name, n.name)
	}
	was := c.in.Lanes[object]
	if was == 0 || n.chained() {
		return
	}
	if why := LanesChange(n.name, was, lanes); why != "" {
		c.refuse(field.Invalid(n.path.Child("from"), n.spec.From, why))
	}
}

// LanesOf is in how many lanes the stage runs or ran, by the names of durables; 0 when none tells. Those that the plan names for
// the stage, or that are another's, tell nothing.
func (p *Plan) LanesOf(s *Stage, durables []string) int {
	own := durableName(p.Namespace, p.Name, s.Name, "", 1)
	for _, name := range durables {
		rest, ok := strings.CutPrefix(name, own)
		_, _, several := SplitConsumer(name)
		switch {
		case !ok || rest != "" && rest[0] != '_', slices.ContainsFunc(s.Consumers, func(c Consumer) bool { return c.Durable == name }):
		case several && s.Lanes == 1:
			return p.Partitions
		case !several:
			return 1
		}
	}
	return 0
}
