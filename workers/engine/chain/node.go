package chain

import (
	"slices"
	"strings"
	"time"

	"millrace.dev/millrace/workers/config"
)

// Node is one stage of a chain: the first one, or one that is given what another one sends to port out.
type Node struct {
	// Stage is the name of the stage.
	Stage string
	// Partitions is how many its outputs have.
	Partitions int
	Limits     Limits
	// Stateful says that the stage remembers events.
	Stateful bool
	Ports    *Ports
	// Children are given what leaves on port out.
	Children []*Node
	// Index is its number in Graph.Nodes, Depth how many stages are before it.
	Index, Depth int
	// Calls observes how many seconds each call of the stage takes.
	Calls Observer

	part int      // which of Graph.parts it belongs to
	dead Throttle // of what is logged of dead letters
	away Throttle // of what is logged of things that are away
}

// Observer takes a measurement, as a histogram of Prometheus does.
type Observer interface{ Observe(seconds float64) }

// Limits bound what a stage is given at once, what a frame holds, and how often an event is tried.
type Limits struct {
	MaxEvents, MaxBytes, Attempts int

	Backoff, MaxBackoff time.Duration
}

// NewNode makes a node of the config of a stage.
func NewNode(c *config.StageConfig, limits Limits, stateful bool, calls Observer) *Node {
	return &Node{
		Stage: c.Stage, Partitions: c.Partitions, Limits: limits, Stateful: stateful, Ports: newPorts(c), Calls: calls,
		dead: Throttle{Every: time.Minute}, away: Throttle{Every: time.Minute},
	}
}

// Chain has c take what n sends to port out. c is the stage number index of the graph.
func (n *Node) Chain(c *Node, index int) {
	c.Index, c.Depth = index, n.Depth+1
	n.Children = append(n.Children, c)
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
