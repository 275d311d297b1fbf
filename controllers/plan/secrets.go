package plan

import (
	"cmp"
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// secrets are what the workers of a stage mount for it and for the stages that are chained to it. A chained stage has no
// workers.
func (c *computation) secrets(n *node) []config.SecretFile {
	all := mounted(c, n, func(r *reader) func(*v1alpha1.StageNode) []config.SecretFile { return r.secrets })
	slices.SortFunc(all, func(a, b config.SecretFile) int { return cmp.Compare(a.File, b.File) })
	return slices.Compact(all)
}

// models are the same of ConfigMaps.
func (c *computation) models(n *node) []config.ModelFile {
	all := mounted(c, n, func(r *reader) func(*v1alpha1.StageNode) []config.ModelFile { return r.models })
	slices.SortFunc(all, func(a, b config.ModelFile) int { return cmp.Compare(a.File, b.File) })
	return slices.Compact(all)
}

func mounted[T any](c *computation, n *node, files func(*reader) func(*v1alpha1.StageNode) []T) (all []T) {
	if n.chained() {
		return nil
	}
	for _, other := range c.all {
		if other.head != n {
			continue
		}
		if r := c.reader(other.kind.Kind); r != nil && files(r) != nil {
			all = append(all, files(r)(other.spec)...)
		}
	}
	return all
}
