package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Lanes of a stage are for its lifetime. Its consumers are named by them, so in other lanes it would begin again at the first stored
// event; frames would be told from those that are stored, but dead letters and insights, whose subjects are those of lanes, would not.

// LanesChange says why a stage that runs in another number of lanes cannot have those of the plan; empty when it has them.
func (s *Stage) LanesChange(was int) string {
	if was == s.Lanes {
		return ""
	}
	return fmt.Sprintf("changes the number of lanes of stage %s from %d to %d: the stage would begin again at the oldest stored event, and store its "+
		"dead letters and insights a second time. Undo the change, or name the stage otherwise: the one of the old name then goes when it has "+
		"processed what is stored for it, and the new one begins at the oldest stored event", quote(s.Name), was, s.Lanes)
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
