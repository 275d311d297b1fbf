package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

// checkNodes refuses names that cannot be and inputs that do not exist.
func (c *computation) checkNodes() {
	byName, children := map[string]*node{}, map[string]*node{}
	readsIngress := false
	for _, n := range c.all {
		c.checkStageName(n, byName[n.name])
		if n.object == "" {
			children[ChildName(c.in.Pipeline.Name, n.name)] = n
		} else if own := children[n.object]; own != nil { // one object cannot be both
			c.refuse(duplicate(n.objectPath(), n.object, fmt.Sprintf("is the name of the Stage object of stage %q of the pipeline: rename one of them", own.name)))
		}
		if byName[n.name] == nil {
			byName[n.name] = n
		}
	}
	for _, n := range c.all {
		readsIngress = readsIngress || slices.ContainsFunc(n.inputs, func(in input) bool { return in.source == "" })
		c.checkInputs(n, byName)
		c.checkOutput(n)
	}
	if !readsIngress {
		c.refuse(field.Required(field.NewPath("spec", "stages"), "no stage reads the ingress: give one from: [ingress]"))
	}
	c.byName = byName
}

func (c *computation) checkStageName(n, twin *node) {
	before := len(c.errs)
	defer func() { n.refused = len(c.errs) > before }()
	switch {
	case n.name == "":
		c.refuse(field.Required(n.namePath, "name the stage"))
	case n.name == ingressPort:
		c.refuse(field.Invalid(n.namePath, n.name, "is the name of the pipeline's input: choose another"))
	case checkName(n.name) != "":
		c.refuse(field.Invalid(n.namePath, n.name, checkName(n.name)))
	case twin != nil:
		c.refuse(duplicate(n.namePath, n.name, "the pipeline has a stage of this name"))
	}
	if child := ChildName(c.in.Pipeline.Name, n.name); n.object == "" && len(child) > v1alpha1.MaxNameLength {
		c.refuse(field.Invalid(n.namePath, n.name, fmt.Sprintf(
			"the Stage object %s would have a name of %d characters, at most %d: shorten the name of the pipeline or of the stage", child, len(child), v1alpha1.MaxNameLength)))
	}
}

// checkInputs looks at what a stage reads; byName is nil when the other stages are not known.
func (c *computation) checkInputs(n *node, byName map[string]*node) {
	if len(n.inputs) == 0 {
		c.refuse(field.Required(n.path.Child("from"), "name what the stage reads: ingress, a stage, or <stage>/<port>"))
	}
	seen := map[string]bool{}
	for i, in := range n.inputs {
		switch from := n.spec.From[i]; {
		case seen[in.String()]:
			c.refuse(duplicate(in.path, from, "the stage reads this port already"))
		case byName != nil:
			c.checkInput(n, in, from, byName)
		}
		seen[in.String()] = true
	}
}

func (c *computation) checkInput(n *node, in input, from string, byName map[string]*node) {
	if in.source == "" {
		return
	}
	source, ok := byName[in.source]
	switch {
	case !ok:
		c.refuse(c.noStage(in.path, from, in.source))
	case in.source == n.name:
		c.refuse(field.Invalid(in.path, from, "a stage cannot read itself"))
	case in.port == config.PortOut && source.kind.NoOut != "":
		c.refuse(field.Invalid(in.path, from, fmt.Sprintf("stage %s has no port out: %s %s. Read what it reads, or one of its ports: %s",
			quote(in.source), source.kind.Kind, source.kind.NoOut, strings.Join(source.ports(), ", "))))
	case source.kind.Kind != "" && !slices.Contains(source.ports(), in.port):
		c.refuse(field.Invalid(in.path, from, fmt.Sprintf("stage %s (%s) has no port %s; its ports are %s",
			quote(in.source), source.kind.Kind, quote(in.port), strings.Join(source.ports(), ", "))))
	}
}

// checkOutput refuses to name the stream of a stage that has none.
func (c *computation) checkOutput(n *node) {
	if len(n.inOwnStream()) == 0 && n.spec.Output != (v1alpha1.PortSpec{}) {
		c.refuse(field.Forbidden(n.path.Child("output"), fmt.Sprintf("the stage has no port out: %s %s. Leave output out", n.kind.Kind, n.kind.NoOut)))
	}
}

// noStage refuses a name that no stage has. Admission tells this refusal by its type from the others: the stage
// may be the next object of the same file.
func (c *computation) noStage(path *field.Path, value, name string) *field.Error {
	return &field.Error{
		Type: field.ErrorTypeNotFound, Field: path.String(), BadValue: value,
		Detail: "there is no stage " + quote(name) + "; stages are " + c.describeNames(),
	}
}

func (c *computation) describeNames() string {
	names := make([]string, len(c.all))
	for i, n := range c.all {
		names[i] = n.name
	}
	return strings.Join(names, ", ")
}

// order returns the nodes so that each stands behind those it reads, and otherwise as in the
// manifest. A cycle is refused once, at the input that closes it.
func (c *computation) order() []*node {
	const (
		unseen = iota
		open
		done
	)
	state := map[*node]int{}
	var ordered, trail []*node
	var visit func(n *node)
	visit = func(n *node) {
		state[n] = open
		trail = append(trail, n)
		for i, in := range n.inputs {
			source := c.byName[in.source]
			if source == nil || source == n {
				continue
			}
			switch state[source] {
			case unseen:
				visit(source)
			case open:
				c.refuse(field.Invalid(in.path, n.spec.From[i], "closes the cycle "+describeCycle(trail, source)+": an event would never leave it"))
			}
		}
		trail = trail[:len(trail)-1]
		state[n] = done
		ordered = append(ordered, n)
	}
	for _, n := range c.all {
		if state[n] == unseen {
			visit(n)
		}
	}
	return ordered
}

// describeCycle writes the cycle in the direction that events flow. trail leads from a stage
// to what it reads, so its end is where the events of the cycle's start come from.
func describeCycle(trail []*node, source *node) string {
	names := []string{source.name}
	for i := len(trail) - 1; i >= 0; i-- {
		names = append(names, trail[i].name)
		if trail[i] == source {
			break
		}
	}
	return strings.Join(names, " -> ")
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

func duplicate(path *field.Path, value any, detail string) *field.Error {
	return &field.Error{Type: field.ErrorTypeDuplicate, Field: path.String(), BadValue: value, Detail: detail}
}
