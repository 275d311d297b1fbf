package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/workers/config"
)

// awaits says whether a stage must know how far its inputs are. One that joins pairs waits for time alone.
func (n *node) awaits() bool {
	return n.kind.Watermarks && (n.spec.Join == nil || n.spec.Join.Pairs == nil)
}

// watermarks has all stages before one that must know how far its inputs are (config.Traits.Watermarks) tell it, and refuses
// what would never do.
func (c *computation) watermarks() {
	for _, n := range c.all {
		if !n.awaits() {
			continue
		}
		c.checkFork(n)
		if c.partitionsIngress() {
			c.refuse(field.Forbidden(n.path.Child(string(n.kind.Kind)), fmt.Sprintf(
				"%s does not work with spec.ingress.partitionBy: a lane of the ingress that gets no events says nothing, so no barrier would be complete before its deadline", n.kind.Kind)))
		}
		c.toldBy(n, n, map[*node]bool{})
	}
}

// checkFork refuses, of a stage that must know how far its inputs are, what is wrong whatever else the pipeline holds.
func (c *computation) checkFork(n *node) {
	if !n.awaits() {
		return
	}
	if len(n.inputs) == 1 {
		c.refuse(field.Invalid(n.path.Child("from"), n.spec.From, fmt.Sprintf("%s needs two inputs at least: with one there is nothing to wait for", n.kind.Kind)))
	}
	for _, in := range n.inputs {
		if in.source == "" {
			c.refuse(field.Invalid(in.path, ingressPort, fmt.Sprintf("%s %s, and the ingress has no partitions of keys: read a stage", n.kind.Kind, n.kind.Keyed)))
		}
	}
}

// toldBy has the stages before n tell how far they are, for stage of.
func (c *computation) toldBy(n, of *node, seen map[*node]bool) {
	if seen[n] { // or a cycle, which is refused
		return
	}
	seen[n] = true
	n.follows = true
	for i, in := range n.inputs {
		source := c.byName[in.source]
		switch {
		case in.source != "" && config.PortFormat(in.port) != config.FormatFrame:
			c.refuse(field.Invalid(in.path, n.spec.From[i], fmt.Sprintf(
				"leads to stage %q (%s), and port %s does not say how far it is: no barrier would be complete before its deadline", of.name, of.kind.Kind, in.port)))
		case source != nil:
			if !slices.Contains(source.tells, in.port) {
				source.tells = append(source.tells, in.port)
			}
			c.toldBy(source, of, seen)
		}
	}
}

// follow fills what a stage on the way to such a one says and is told. The stages before it are planned.
func (c *computation) follow(n *node, s *config.StageConfig, partitions int) {
	for port, out := range s.Outputs {
		out.Watermarks = slices.Contains(n.tells, port)
		s.Outputs[port] = out
	}
	if !n.follows || n.chained() {
		return
	}
	for i := range s.Inputs {
		in := &s.Inputs[i]
		in.Writers = 1
		name, _, _ := strings.Cut(in.From, "/")
		if source := c.byName[name]; source != nil && in.Repartitioned {
			in.Writers = c.lanes(source.head, partitions)
		}
	}
}

// merge has the stages whose outputs are brought into one order with others repeat the last of what they say (config.Output.Merged). Only stages
// with state have an order of their inputs. All stages are planned, and none is chained yet.
func (c *computation) merge(p *Plan) {
	planned, remembers := map[string]*config.StageConfig{}, map[*node]bool{}
	for i := range p.Stages {
		s := &p.Stages[i].Config
		planned[s.Stage] = s
		if n := c.byName[s.Stage]; s.Replays() {
			remembers[n.head] = true
		}
	}
	for _, n := range c.all {
		if !n.follows || n.chained() || len(n.inputs) < 2 || !remembers[n] {
			continue
		}
		for _, in := range n.inputs {
			source := planned[in.source]
			if source == nil {
				continue
			}
			if out := source.Outputs[in.port]; out.Watermarks {
				out.Merged = true
				source.Outputs[in.port] = out
			}
		}
	}
}

// checkBranches refuses a stage that brings branches together whose events are not in the same partitions. The stages before it are planned.
func (c *computation) checkBranches(n *node) {
	if !n.awaits() || len(n.inputs) == 0 {
		return
	}
	first := c.rekeyed(n.inputs[0].source, map[string]bool{})
	for i, in := range n.inputs[1:] {
		if also := c.rekeyed(in.source, map[string]bool{}); !slices.Equal(first, also) {
			c.refuse(field.Invalid(in.path, n.spec.From[i+1], fmt.Sprintf(
				"the events of this branch have other keys than those of %s, and so are in other partitions: keys are changed by %s there, and by %s here. Change keys before the fork, or behind the %s",
				n.spec.From[0], named(first), named(also), n.kind.Kind)))
		}
	}
}

// rekeyed are the stages that change keys among one and those before it, sorted.
func (c *computation) rekeyed(name string, seen map[string]bool) (names []string) {
	n := c.byName[name]
	if n == nil || seen[name] {
		return nil
	}
	seen[name] = true
	if n.changesKeys {
		names = append(names, n.name)
	}
	for _, in := range n.inputs {
		names = append(names, c.rekeyed(in.source, seen)...)
	}
	slices.Sort(names)
	return names
}

func named(stages []string) string {
	if len(stages) == 0 {
		return "no stage"
	}
	return strings.Join(stages, ", ")
}
