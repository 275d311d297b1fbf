package kubernetes

import (
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// contacts exports whether each resource is being watched.
type contacts struct{ feeds []*watch.Feed }

var contactMetric = prometheus.NewDesc("millrace_collect_contact",
	"1 when the resource has been listed and its last request succeeded, else 0.", []string{"resource"}, nil)

// Describe implements prometheus.Collector.
func (c contacts) Describe(descs chan<- *prometheus.Desc) { descs <- contactMetric }

// Collect implements prometheus.Collector.
func (c contacts) Collect(metrics chan<- prometheus.Metric) {
	for _, feed := range c.feeds {
		contact := 0.0
		if feed.HasSynced() && feed.Problem() == "" {
			contact = 1
		}
		metrics <- prometheus.MustNewConstMetric(contactMetric, prometheus.GaugeValue, contact, feed.Name())
	}
}
