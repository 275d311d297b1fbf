package collect

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// metrics of a publisher.
type metrics struct {
	events   *prometheus.CounterVec
	frames   prometheus.Counter
	failures prometheus.Counter
	dropped  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, queue chan Item) (*metrics, error) {
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
	for _, c := range []prometheus.Collector{m.events, m.frames, m.failures, m.dropped, waiting} {
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
