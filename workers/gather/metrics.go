package gather

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// What a reply is: values of the metric label `result`.
const (
	resultAnswer    = "answer"
	resultError     = "error"     // the responder cannot answer now
	resultRefused   = "refused"   // it never will
	resultMalformed = "malformed" // it is no reply
	resultDuplicate = "duplicate" // the responder had replied
	resultLate      = "late"      // nobody waits any more
	resultUnheard   = "no_responders"
	resultTimeout   = "timeout" // there was none
)

// How complete the answers for an event are: values of the metric label `status`, and of the attribute status.
const (
	statusComplete = "complete"
	statusPartial  = "partial" // there are some, and too few
	statusNone     = "none"
)

type metrics struct {
	requests, conflicts prometheus.Counter
	unasked             prometheus.Counter
	replies, events     *prometheus.CounterVec
	seconds             prometheus.Histogram
	open                prometheus.Gauge
	register            prometheus.Registerer
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		register: r,
		requests: prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_gather_requests_total", Help: "Requests that were sent."}),
		unasked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_gather_unasked_total", Help: "Requests that were not sent, because the target was silent for the rest of the batch.",
		}),
		replies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_gather_replies_total",
			Help: "Replies to requests: answer, error, refused, malformed, duplicate, late; no_responders and timeout count requests, timeout also those without a quorum.",
		}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_gather_events_total", Help: "Events that were emitted or are dead letters, by their answers: complete, partial or none. Not counted: those to be asked about again, and those that retry has given up (retries_exhausted).",
		}, []string{"status"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_gather_conflicts_total", Help: "Attributes that two answers for one event had with different values.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_gather_reply_seconds", Help: "Time from a request to its first reply.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_gather_requests_in_flight", Help: "Requests that were sent and wait."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.unasked, m.replies, m.events, m.conflicts, m.seconds, m.open} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of gather: %w", err)
		}
	}
	for _, result := range []string{
		resultAnswer, resultError, resultRefused, resultMalformed, resultDuplicate, resultLate, resultUnheard, resultTimeout,
	} {
		m.replies.WithLabelValues(result)
	}
	for _, status := range []string{statusComplete, statusPartial, statusNone} {
		m.events.WithLabelValues(status)
	}
	return m, nil
}

func (m *metrics) reply(result string) { m.replies.WithLabelValues(result).Inc() }
