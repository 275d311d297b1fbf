package plan

import (
	"cmp"
	"slices"

	"millrace.dev/millrace/workers/config"
)

// secrets are what the workers of a stage mount for it and for the stages that are chained to it. A chained stage has no
// workers.
func (c *computation) secrets(n *node) []config.SecretFile {
	if n.chained() {
		return nil
	}
	var all []config.SecretFile
	for _, other := range c.all {
		if other.head != n {
			continue
		}
		if r := c.reader(other.kind.Kind); r != nil && r.secrets != nil {
			all = append(all, r.secrets(other.spec)...)
		}
	}
	slices.SortFunc(all, func(a, b config.SecretFile) int { return cmp.Compare(a.File, b.File) })
	return slices.Compact(all)
}
