package worker

import (
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"millrace.dev/millrace/workers/config"
)

// connection are the metrics of the connection of a worker, read when they are scraped.
func connection(conn *nats.Conn, c *config.StageConfig) []prometheus.Collector {
	labels := prometheus.Labels{"pipeline": c.Pipeline.String(), "stage": c.Stage}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_worker_nats_connected", Help: "1 while the worker is connected to NATS.", ConstLabels: labels,
		}, func() float64 {
			if conn.IsConnected() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "millrace_worker_nats_reconnects_total", Help: "Times that the worker was connected to NATS again.", ConstLabels: labels,
		}, func() float64 { return float64(conn.Stats().Reconnects) }),
	}
}
