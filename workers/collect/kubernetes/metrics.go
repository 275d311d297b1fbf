package kubernetes

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/enrich/kubernetes/watch"
)

// metrics of a collector.
type metrics struct {
	events   *prometheus.CounterVec
	frames   prometheus.Counter
	failures prometheus.Counter
	dropped  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, feeds []*watch.Feed, queue chan item) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_collect_events_total", Help: "Events that the stream has acknowledged.",
		}, []string{"type"}),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_collect_frames_total", Help: "Frames that the stream has acknowledged.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_collect_write_failures_total", Help: "Attempts to write a frame or a checkpoint that failed.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_collect_dropped_total", Help: "Events that NATS will never take.",
		}, []string{"reason"}),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_collect_queue", Help: "Findings that wait to be published.",
	}, func() float64 { return float64(len(queue)) })
	for _, c := range []prometheus.Collector{m.events, m.frames, m.failures, m.dropped, waiting, contacts{feeds}} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the collector: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) published(batch []*eventv1.Event) {
	m.frames.Inc()
	for _, e := range batch {
		m.events.WithLabelValues(e.Type).Inc()
	}
}

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
