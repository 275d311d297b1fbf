package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// chained says whether the stage runs in the workers of another one.
func (n *node) chained() bool { return n.head != n }

// placements finds out in whose workers each stage runs, and refuses what cannot be handed
// over there in memory.
func (c *computation) placements(p *Plan) {
	for _, n := range c.all {
		n.head = c.headOf(n)
	}
	for _, n := range c.all {
		if n.chained() {
			c.checkChained(n, p.Partitions)
		}
	}
}

// headOf follows placements to a stage that has none.
func (c *computation) headOf(n *node) *node {
	seen := map[*node]bool{}
	for at := n; ; {
		if at.spec.Placement == nil {
			return at
		}
		seen[at] = true
		next := c.byName[at.spec.Placement.With]
		switch {
		case next == nil && at == n:
			c.refuse(c.noStage(at.withPath(), at.spec.Placement.With, at.spec.Placement.With))
			return n
		case next == n:
			c.refuse(field.Invalid(n.withPath(), n.spec.Placement.With, "leads back to the stage itself: one of them needs workers of its own"))
			return n
		case next == nil || seen[next]:
			return n // refused where it is wrong
		}
		at = next
	}
}

func (n *node) withPath() *field.Path { return n.path.Child("placement", "with") }

// checkChained refuses what cannot be handed over in memory, or needs other lanes than the
// head has. That workers and suspend are the head's is a rule of the API.
func (c *computation) checkChained(n *node, partitions int) {
	with, head := n.withPath(), n.head.name
	if !n.head.start.IsZero() {
		c.refuse(field.Invalid(with, n.spec.Placement.With, fmt.Sprintf("stage %s begins at a time: give this one workers of its own", quote(head))))
	}
	if !c.fromWorker(n) {
		c.refuse(field.Invalid(with, n.spec.Placement.With, fmt.Sprintf(
			"events are handed over in memory, so from must be port out of one stage that runs in the workers of %q, and nothing else", head)))
	}
	if why := n.kind.Unchained; why != "" {
		c.refuse(field.Invalid(with, n.spec.Placement.With, fmt.Sprintf("%s %s: leave placement out", n.kind.Kind, why)))
	}
	if lanes := c.lanes(n.head, partitions); n.kind.OneLane != "" && lanes > 1 {
		do := "leave placement out, or chain it to a stage that reads the ingress"
		if c.partitionsIngress() {
			do = "leave placement out"
		}
		c.refuse(field.Invalid(with, n.spec.Placement.With, fmt.Sprintf(
			"%s %s, so one lane must see all events; %q has %d lanes, one for each partition, "+
				"which different workers may have: %s", n.kind.Kind, n.kind.OneLane, head, lanes, do)))
	}
}

// fromWorker says whether all that the stage reads is one port out inside its worker.
func (c *computation) fromWorker(n *node) bool {
	if len(n.inputs) != 1 || n.inputs[0].port != config.PortOut {
		return false
	}
	source := c.byName[n.inputs[0].source]
	return source != nil && source != n && source.head == n.head
}

// stored says whether the stage has a stream of its own: for port out, when a stage of another worker reads
// it, when nobody reads it (it is a result), or when the manifest names it; and for the ports that the settings name.
func (c *computation) stored(n *node) bool {
	if len(n.inOwnStream()) == 0 {
		return false
	}
	if len(n.named) > 0 || n.spec.Output != (v1alpha1.PortSpec{}) {
		return true
	}
	read := false
	for _, reader := range c.all {
		if !slices.ContainsFunc(reader.inputs, func(in input) bool { return in.source == n.name && in.port == config.PortOut }) {
			continue
		}
		if reader.head != n.head {
			return true
		}
		read = true
	}
	return !read
}

// chain gives the head of each chained stage its config. A stage stands behind what it reads.
func chain(p *Plan) {
	for _, s := range p.Stages {
		if s.Head == "" {
			continue
		}
		for i := range p.Stages {
			if head := &p.Stages[i]; head.Name == s.Head {
				head.Config.Chain = append(head.Config.Chain, s.Config)
			}
		}
	}
}
