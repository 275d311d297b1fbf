package engine

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/stage"
)

// node is one stage of the worker: the first one, or one that is chained to another. What all lanes know of it is here,
// what its events need is in the chain.Node.
type node struct {
	*chain.Node
	// cfg is what it was started with; its live members may be others by now (edition).
	cfg      *config.StageConfig
	factory  stage.Factory
	metrics  *stageMetrics
	stats    *stats
	register prometheus.Registerer
}

// newNodes makes the head and what is chained to it, parents first.
func newNodes(o *Options) ([]*node, error) {
	head, err := newNode(o, o.Config, o.Factory)
	if err != nil {
		return nil, err
	}
	nodes := []*node{head} // in the order of edition.configs
	byName := map[string]*node{o.Config.Stage: head}
	for i := range o.Config.Chain {
		c := &o.Config.Chain[i]
		factory, err := o.Registry.Factory(c.Kind)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", c.Stage, err)
		}
		n, err := newNode(o, c, factory)
		if err != nil {
			return nil, err
		}
		parent := byName[parentOf(c)]
		if parent == nil {
			return nil, fmt.Errorf("stage config: chain[%d] reads %q, which no earlier stage of the chain fills", i, c.Inputs[0].From)
		}
		parent.Chain(n.Node, len(nodes))
		byName[c.Stage] = n
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// graphOf is the chain of the nodes.
func graphOf(nodes []*node) *chain.Graph {
	all := make([]*chain.Node, len(nodes))
	for i, n := range nodes {
		all[i] = n.Node
	}
	return chain.NewGraph(all)
}

// parentOf is the stage whose port out a chained stage reads.
func parentOf(c *config.StageConfig) string {
	if len(c.Inputs) != 1 {
		return ""
	}
	name, ok := strings.CutSuffix(c.Inputs[0].From, "/"+config.PortOut)
	if !ok {
		return ""
	}
	return name
}

func newNode(o *Options, c *config.StageConfig, f stage.Factory) (*node, error) {
	metrics := o.Metrics.bind(c.Pipeline.String(), c.Stage)
	n := &node{
		Node: chain.NewNode(c, limitsOf(c).Limits, f.Stateful(c), metrics.process),
		cfg:  c, factory: f, metrics: metrics,
		register: prometheus.WrapRegistererWith(prometheus.Labels{
			"pipeline": c.Pipeline.String(), "stage": c.Stage,
		}, o.Metrics.registerer),
	}
	var err error
	if n.stats, err = newStats(n.metrics); err != nil {
		return nil, fmt.Errorf("make latency sketch: %w", err)
	}
	return n, nil
}

// build makes an instance of the stage that decides by c.
func (n *node) build(o *Options, c *config.StageConfig, r prometheus.Registerer) (stage.Stage, error) {
	s, err := n.factory.New(stage.Settings{Config: c, Log: o.Log, Now: o.Now, Metrics: r, Lanes: n.cfg.Lanes})
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", n.cfg.Stage, err)
	}
	return s, nil
}

// laneMetrics registers the collectors of one instance, until they are let go of.
type laneMetrics struct {
	prometheus.Registerer
	made []prometheus.Collector
}

func (r *laneMetrics) Register(c prometheus.Collector) error {
	err := r.Registerer.Register(c)
	if err == nil {
		r.made = append(r.made, c)
	}
	return err
}

func (r *laneMetrics) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err) // as the registerer itself does
		}
	}
}

func (r *laneMetrics) close() {
	for _, c := range r.made {
		r.Unregister(c)
	}
}
