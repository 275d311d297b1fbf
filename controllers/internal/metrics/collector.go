package metrics

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
)

// listTimeout bounds a scrape before the cache is filled.
const listTimeout = 2 * time.Second

// Options of a Collector. All are required.
type Options struct {
	// Reader reads Pipelines and Stages: the cache of the manager.
	Reader client.Reader
	// Elected is closed when this operator leads.
	Elected <-chan struct{}
	Log     logr.Logger
}

// Collector implements prometheus.Collector.
type Collector struct {
	ctx context.Context //nolint:containedctx // prometheus.Collector has none: it ends with the operator
	o   Options
}

// New returns a Collector that reads until ctx ends.
func New(ctx context.Context, o Options) *Collector { return &Collector{ctx: ctx, o: o} }

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range all() {
		descs <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	leads := false
	select {
	case <-c.o.Elected:
		leads = true
	default:
	}
	gauge(out, operatorLeader, truth(leads))
	if !leads {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, listTimeout)
	defer cancel()
	var pipelines v1alpha1.PipelineList
	var stages v1alpha1.StageList
	for _, list := range []client.ObjectList{&pipelines, &stages} {
		if err := c.o.Reader.List(ctx, list); err != nil {
			c.o.Log.V(1).Info("metrics of Pipelines and Stages are left out", "reason", err.Error())
			return
		}
	}
	show(out, pipelines.Items, stages.Items)
}

// show is pure: what do these objects say?
func show(out chan<- prometheus.Metric, pipelines []v1alpha1.Pipeline, stages []v1alpha1.Stage) {
	for i := range pipelines {
		collectPipeline(out, &pipelines[i])
	}
	for _, s := range named(stages) {
		collectStage(out, s)
	}
}

// named are the Stages of which there is one by each name in a pipeline: a Stage that a user attached
// under the name of a child is refused, and the child stands for the name.
func named(stages []v1alpha1.Stage) []*v1alpha1.Stage {
	type name struct{ namespace, pipeline, stage string }
	taken := map[name]bool{}
	var found []*v1alpha1.Stage
	for _, children := range []bool{true, false} {
		for i := range stages {
			s := &stages[i]
			n := name{s.Namespace, s.Spec.PipelineRef.Name, graph.Name(s)}
			if graph.IsChild(s) != children || taken[n] {
				continue
			}
			taken[n] = true
			found = append(found, s)
		}
	}
	return found
}

func gauge(out chan<- prometheus.Metric, m metric, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, value, labels...)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
