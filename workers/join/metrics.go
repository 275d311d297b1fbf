package join

import "github.com/prometheus/client_golang/prometheus"

// outcome is how a barrier ends.
type outcome string

// How it ends. The names are those of attribute join.result and of the metric.
const (
	complete  outcome = "complete"  // all expected branches have answered
	silent    outcome = "silent"    // those that have not had nothing to say
	timeout   outcome = "timeout"   // the deadline was over
	evicted   outcome = "evicted"   // there was no room
	unmatched outcome = "unmatched" // the other one of a pair has not come in time
)

type metrics struct {
	barriers map[outcome]prometheus.Counter
	late     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	barriers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_join_barriers_total", Help: "Barriers that ended, by outcome: complete, silent, timeout, evicted, unmatched.",
	}, []string{"outcome"})
	m := &metrics{
		barriers: map[outcome]prometheus.Counter{},
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_join_late_events_total", Help: "Events that came for a barrier that had ended by its deadline or for lack of room.",
		}),
	}
	for _, why := range []outcome{complete, silent, timeout, evicted, unmatched} {
		m.barriers[why] = barriers.WithLabelValues(string(why))
	}
	r.MustRegister(barriers, m.late)
	return m
}

func (m *metrics) ended(why outcome) { m.barriers[why].Inc() }
