package view

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"millrace.dev/millrace/workers/config"
)

// Graph is what a pipeline is made of.
func (v *View) Graph(ctx context.Context, of Name) (*Graph, error) {
	l, err := v.source.Layout(ctx, of)
	if err != nil {
		return nil, err
	}
	return GraphOf(l), nil
}

// GraphOf is the graph of a layout. Edges stand in the order of what they come from: the ingress, then the stages with their ports,
// of which out is the first and dead-letter the last, then the readers of a port.
func GraphOf(l *Layout) *Graph {
	g := &Graph{Name: l.Name, Stages: []Stage{}, Edges: []Edge{}, Warnings: l.Warnings}
	g.Edges = appendEdges(g.Edges, l, &l.Ingress)
	for i := range l.Stages {
		s := &l.Stages[i]
		node := Stage{
			Name: s.Name, Kind: string(s.Kind), Head: s.Head, Lanes: s.Lanes, Suspended: s.Suspended, Stateful: s.Stateful, Ports: []string{},
		}
		ports := l.PortsOf(s.Name)
		slices.SortStableFunc(ports, func(a, b *PortLayout) int {
			return cmp.Or(cmp.Compare(portOrder(a.Port), portOrder(b.Port)), strings.Compare(a.Port, b.Port))
		})
		for _, p := range ports {
			node.Ports = append(node.Ports, p.Port)
			g.Edges = appendEdges(g.Edges, l, p)
		}
		g.Stages = append(g.Stages, node)
	}
	g.Revision = revisionOf(g)
	return g
}

func revisionOf(g *Graph) string {
	h := fnv.New64a()
	for i := range g.Stages {
		fmt.Fprintf(h, "%s\x00", g.Stages[i].Name)
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		fmt.Fprintf(h, "%s/%s>%s@%s\x00", e.From, e.Port, e.To, e.Stream)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// portOrder puts the ports of results before those of what went wrong.
func portOrder(port string) int {
	switch port {
	case config.PortOut:
		return 0
	case config.PortInsights:
		return 2
	case config.PortOverflow:
		return 3
	case config.PortDeadLetter:
		return 4
	}
	return 1
}

// appendEdges adds an edge for each reader of a port, or one that leads nowhere.
func appendEdges(edges []Edge, l *Layout, p *PortLayout) []Edge {
	e := Edge{From: p.Stage, Port: p.Port, Stream: p.Stream, Partitions: p.Partitions}
	if p.Stage == "" {
		e.From, e.Port = PortIngress, ""
	}
	read := false
	for i := range l.Stages {
		for _, in := range l.Stages[i].Inputs {
			if in.From == p.String() {
				e.To, read = l.Stages[i].Name, true
				edges = append(edges, e)
			}
		}
	}
	if !read {
		edges = append(edges, e)
	}
	return edges
}
