package lane

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/stage"
)

// Node is one stage of the worker: the first one, or one that is chained to another. What all lanes know of it is here,
// what its events need is in the chain.Node.
type Node struct {
	*chain.Node
	// Config is what it was started with; its live members may be others by now (Edition).
	Config  *config.StageConfig
	Metrics *stats.Stage
	Stats   *stats.Counters
	// Register takes the metrics of the stage itself.
	Register prometheus.Registerer

	factory   stage.Factory
	requester stage.Requester
	log       *slog.Logger
	now       func() time.Time
}

// Kinds are what nodes are made of.
type Kinds struct {
	// Factory makes the first stage, Registry has the factories of those that are chained to it; nil = there are none.
	Factory  stage.Factory
	Registry stage.Registry
	Metrics  *stats.Metrics
	// Requester is for stages that ask others.
	Requester stage.Requester
	Log       *slog.Logger
	Now       func() time.Time
}

// NewNodes makes the nodes of the stages of c, parents first.
func NewNodes(c *config.StageConfig, kinds *Kinds) ([]*Node, error) {
	head, err := newNode(c, kinds.Factory, kinds)
	if err != nil {
		return nil, err
	}
	nodes := []*Node{head} // in the order of Edition.Configs
	byName := map[string]*Node{c.Stage: head}
	for i := range c.Chain {
		next := &c.Chain[i]
		factory, err := kinds.Registry.Factory(next.Kind)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", next.Stage, err)
		}
		n, err := newNode(next, factory, kinds)
		if err != nil {
			return nil, err
		}
		parent := byName[parentOf(next)]
		if parent == nil {
			return nil, fmt.Errorf("stage config: chain[%d] reads %q, which no earlier stage of the chain fills", i, next.Inputs[0].From)
		}
		parent.Chain(n.Node, len(nodes))
		byName[next.Stage] = n
		nodes = append(nodes, n)
	}
	return nodes, nil
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

func newNode(c *config.StageConfig, f stage.Factory, kinds *Kinds) (*Node, error) {
	metrics := kinds.Metrics.Bind(c.Pipeline.String(), c.Stage)
	counters, err := stats.New(metrics)
	if err != nil {
		return nil, err
	}
	return &Node{
		Node:   chain.NewNode(c, LimitsOf(c).Limits, f.Stateful(c), metrics.Process),
		Config: c, Metrics: metrics, Stats: counters, factory: f, requester: kinds.Requester, log: kinds.Log, now: kinds.Now,
		Register: prometheus.WrapRegistererWith(prometheus.Labels{
			"pipeline": c.Pipeline.String(), "stage": c.Stage,
		}, kinds.Metrics.Registerer),
	}, nil
}

// Build makes an instance of the stage that decides by c.
func (n *Node) Build(c *config.StageConfig, r prometheus.Registerer) (stage.Stage, error) {
	s, err := n.factory.New(stage.Settings{Config: c, Log: n.log, Now: n.now, Metrics: r, Lanes: n.Config.Lanes, Requester: n.requester})
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", n.Config.Stage, err)
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
