package lag

import (
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/api/v1alpha1"
)

// The gauges of stages that scale, which the Prometheus adapter makes external metrics of, and their labels by which it
// finds the namespace, and an autoscaler its stage. A label named namespace would be that of the operator's own pod
// wherever Prometheus is configured as usual.
const (
	GaugeLag        = "millrace_autoscaling_lag_events"
	GaugeWanted     = "millrace_autoscaling_wanted_workers"
	GaugeNamespace  = "deployment_namespace"
	GaugeDeployment = "deployment"
)

// Gauges is a prometheus.Collector of the newest readings. Each replica of the operator shows its own.
type Gauges struct {
	meter       *Meter
	lag, wanted *prometheus.Desc
}

// NewGauges shows what a meter has read.
func NewGauges(m *Meter) *Gauges {
	names := []string{"pipeline", "stage", GaugeNamespace, GaugeDeployment}
	return &Gauges{
		meter: m,
		lag: prometheus.NewDesc(GaugeLag,
			"Events stored and not yet acknowledged by a stage with workers.max, as each replica of the operator measures it; left out while it is not known.", names, nil),
		wanted: prometheus.NewDesc(GaugeWanted,
			"Workers that the load of a stage with workers.max calls for, within its bounds; left out while it is not known.", names, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *Gauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- g.lag
	descs <- g.wanted
}

// Collect implements prometheus.Collector.
func (g *Gauges) Collect(out chan<- prometheus.Metric) {
	for _, name := range g.meter.names() {
		r, err := g.meter.fresh(name)
		if err != nil {
			continue // a number from before would pass for one of now
		}
		values := []string{name.Namespace + "/" + r.Labels[v1alpha1.LabelPipeline], r.Labels[v1alpha1.LabelStage], name.Namespace, name.Name}
		out <- prometheus.MustNewConstMetric(g.lag, prometheus.GaugeValue, float64(r.Lag), values...)
		out <- prometheus.MustNewConstMetric(g.wanted, prometheus.GaugeValue, float64(r.Wanted.Workers), values...)
	}
}
