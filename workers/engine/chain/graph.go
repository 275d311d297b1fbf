package chain

import (
	"slices"
	"strings"
)

// cutChain divides the stages: those from a depth on are downstream of the cut. Where several stages
// are given the same events, the copies share the memory that what is added to an event goes to, so the
// stages behind such a branch are all in one part.
func cutChain(nodes []*Node) (parts [2][]*Node, cut int) {
	cut = (nodes[0].deepest() + 2) / 2
	for again := true; again; {
		again = false
		for _, n := range nodes {
			if first := n.Depth + 1; len(n.Children) > 1 && first < cut && cut <= n.deepest() {
				cut, again = first, true
			}
		}
	}
	for _, n := range nodes {
		if n.Depth >= cut {
			n.part = 1
		}
		parts[n.part] = append(parts[n.part], n)
	}
	return parts, cut
}

// deepest is the largest depth among n and what is behind it.
func (n *Node) deepest() int {
	depth := n.Depth
	for _, child := range n.Children {
		depth = max(depth, child.deepest())
	}
	return depth
}

// Graph is the stages of one worker. Lanes share it.
type Graph struct {
	// Nodes are the first stage, then the chained ones, parents first.
	Nodes []*Node
	// Stateful says that some stage remembers events: then messages are taken one by one.
	Stateful bool

	parts [2][]*Node
	cut   int // depth of the second part
}

// NewGraph cuts the chain of nodes, which are in the order of Graph.Nodes.
func NewGraph(nodes []*Node) *Graph {
	g := &Graph{Nodes: nodes}
	g.parts, g.cut = cutChain(nodes)
	for _, n := range nodes {
		g.Stateful = g.Stateful || n.Stateful
	}
	return g
}

// LongestPorts are the names of the ports of the stage whose names are longest together.
func (g *Graph) LongestPorts() []string {
	return slices.MaxFunc(g.Nodes, func(a, b *Node) int {
		return len(strings.Join(a.Ports.Names, ",")) - len(strings.Join(b.Ports.Names, ","))
	}).Ports.Names
}

// Parents names for each stage the one whose events it is given; -1 for the first.
func (g *Graph) Parents() []int {
	parents := make([]int, len(g.Nodes))
	parents[0] = -1
	for _, n := range g.Nodes {
		for _, child := range n.Children {
			parents[child.Index] = n.Index
		}
	}
	return parents
}
