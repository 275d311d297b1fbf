package kubernetes

import (
	"github.com/prometheus/client_golang/prometheus"
)

// collector exports the state of the informers as it is when it is asked.
type collector struct{ informers *Informers }

var (
	podsMetric = prometheus.NewDesc("millrace_enrich_kubernetes_pods",
		"Pods that the Kubernetes source knows, deleted ones that are kept included.", nil, nil)
	contactMetric = prometheus.NewDesc("millrace_enrich_kubernetes_contact",
		"1 when the resource has been listed and its last request succeeded, else 0.", []string{"resource"}, nil)
	failuresMetric = prometheus.NewDesc("millrace_enrich_kubernetes_request_failures_total",
		"List and watch requests that failed.", []string{"resource", "problem"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- podsMetric
	descs <- contactMetric
	descs <- failuresMetric
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(podsMetric, prometheus.GaugeValue, float64(c.informers.store.Pods()))
	for _, feed := range c.informers.feeds {
		contact := 0.0
		if feed.HasSynced() && feed.Problem() == "" {
			contact = 1
		}
		metrics <- prometheus.MustNewConstMetric(contactMetric, prometheus.GaugeValue, contact, feed.Name())
		for problem, n := range feed.Failures() {
			metrics <- prometheus.MustNewConstMetric(failuresMetric, prometheus.CounterValue, float64(n), feed.Name(), problem)
		}
	}
}
