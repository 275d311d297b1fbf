package chain

import (
	"strconv"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
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

// missing returns a port of the set where the stage may send nothing, if there is one. Port out need not be stored where other stages are
// chained to this one.
func (n *Node) missing(set stage.Ports) (name string, missing bool) {
	for i := range set.Numbers {
		switch {
		case i >= len(n.Ports.Names):
			return strconv.Itoa(i), true
		case i == 0 && len(n.Children) > 0:
		case n.Ports.stored[i] < 0 || stage.Ports(1)<<i == deadLetter:
			return n.Ports.Names[i], true
		}
	}
	return "", false
}
