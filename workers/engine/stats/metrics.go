package stats

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of all engines of one process.
type Metrics struct {
	// Registerer is where they are registered.
	Registerer prometheus.Registerer

	events, deadLetters, redelivered, republished, republishedStored, produced, skipped, late, ports, dropped *prometheus.CounterVec

	lagEvents, lagSeconds, overflowEvents, inflightFrames, inflightMessages, inflightBytes, blocked, ready, lanes *prometheus.GaugeVec

	process, latency *prometheus.HistogramVec
}

// NewMetrics registers the metrics of the engine with r. It panics when they are
// registered with r already: make one Metrics and share it.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_" + name, Help: help}, append(stageLabels(), more...))
	}
	gauge := func(name, help string, more ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_" + name, Help: help}, append(stageLabels(), more...))
	}
	histogram := func(name, help string, start float64, n int) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, n),
		}, stageLabels())
	}
	m := &Metrics{
		Registerer:        r,
		events:            counter("stage_events_total", "Events by what became of them (emitted, filtered, duplicate, kept, dead_lettered, overflowed), counted when all they caused is stored; retried counts attempts.", "outcome"),
		deadLetters:       counter("dead_letter_events_total", "Events stored in the dead letters, by reason.", "reason"),
		produced:          counter("stage_produced_events_total", "New events that the stage made and that are stored, by port.", "port"),
		ports:             counter("stage_port_events_total", "Events that left on a port, received and new ones, counted when they are stored; one that leaves on several counts on each.", "port"),
		dropped:           counter("stage_dropped_events_total", "Events that are not stored on a port because its stream was full and the port says Drop.", "port"),
		redelivered:       counter("stage_redelivered_total", "Messages that the server had delivered before, to this worker or another."),
		republished:       counter("stage_republished_total", "Publishes that were repeated because the first was refused or not answered."),
		republishedStored: counter("stage_publish_confirmed_late_total", "Publishes that were stored although no answer came: the last message of their subject showed it."),
		skipped:           counter("stage_skipped_events_total", "Events that were not stored again: the worker that had the lane before had stored them."),
		late:              counter("stage_late_events_total", "Events that came too late for what the stage had closed by event time, such as a window."),
		lagEvents:         gauge("worker_lag_events", "Events stored and not acknowledged in the lanes of this worker, estimated from what it received last."),
		overflowEvents:    gauge("stage_overflow_events", "Events that wait in the overflow of the stage, in the lanes of this worker, estimated from what it received last; worker_lag_events counts them as well."),
		lagSeconds:        gauge("worker_lag_seconds", "How long this worker has acknowledged nothing while something is in hand."),
		lanes:             gauge("worker_lanes", "Lanes that this worker has."),
		inflightFrames:    gauge("stage_inflight_frames", "Published messages that wait for their PubAck."),
		inflightMessages:  gauge("stage_inflight_messages", "Received messages that are not acknowledged."),
		inflightBytes:     gauge("stage_inflight_bytes", "Received bytes that are not acknowledged."),
		blocked:           gauge("stage_output_blocked", "1 while outputs to this stream wait: it is full, missing or cannot be reached.", "stream"),
		ready:             gauge("worker_ready", "1 when the worker is connected and bound to all its consumers."),
		process:           histogram("stage_process_seconds", "Duration of one call of the stage with a batch of events.", 20e-6, 18),
		latency:           histogram("event_latency_seconds", "From the first ingest of an event to the acknowledgement by this stage; one event of each message is measured.", 1e-3, 18),
	}
	r.MustRegister(m.events, m.deadLetters, m.produced, m.redelivered, m.republished, m.republishedStored, m.skipped, m.late, m.ports, m.dropped, m.lagEvents, m.lagSeconds, m.overflowEvents,
		m.inflightFrames, m.inflightMessages, m.inflightBytes, m.blocked, m.ready, m.lanes, m.process, m.latency)
	return m
}

func stageLabels() []string { return []string{"pipeline", "stage"} }

// Stage are the metrics of one stage, with their labels bound.
type Stage struct {
	emitted, filtered, duplicate, kept, deadLettered, overflowed, retried, Redelivered, Republished, RepublishedStored, skipped, late prometheus.Counter

	LagEvents, LagSeconds, OverflowEvents, InflightFrames, InflightMessages, InflightBytes, Ready, Lanes prometheus.Gauge

	Process, latency prometheus.Observer

	deadLetters, produced, ports, dropped *prometheus.CounterVec
	blockedBy                             *prometheus.GaugeVec
}

// Bind binds the labels of one stage.
func (m *Metrics) Bind(pipeline, stage string) *Stage {
	l := prometheus.Labels{"pipeline": pipeline, "stage": stage}
	events := m.events.MustCurryWith(l)
	return &Stage{
		emitted: events.WithLabelValues("emitted"), filtered: events.WithLabelValues("filtered"),
		duplicate: events.WithLabelValues("duplicate"), kept: events.WithLabelValues("kept"), deadLettered: events.WithLabelValues("dead_lettered"), overflowed: events.WithLabelValues("overflowed"),
		retried: events.WithLabelValues("retried"), Redelivered: m.redelivered.With(l), Republished: m.republished.With(l), RepublishedStored: m.republishedStored.With(l), skipped: m.skipped.With(l), late: m.late.With(l),
		LagEvents: m.lagEvents.With(l), LagSeconds: m.lagSeconds.With(l), OverflowEvents: m.overflowEvents.With(l), InflightFrames: m.inflightFrames.With(l),
		InflightMessages: m.inflightMessages.With(l), InflightBytes: m.inflightBytes.With(l), Ready: m.ready.With(l), Lanes: m.lanes.With(l),
		Process: m.process.With(l), latency: m.latency.With(l),
		deadLetters: m.deadLetters.MustCurryWith(l), produced: m.produced.MustCurryWith(l), ports: m.ports.MustCurryWith(l), dropped: m.dropped.MustCurryWith(l), blockedBy: m.blocked.MustCurryWith(l),
	}
}

// Blocked is called when output to a stream begins and ends to wait.
func (m *Stage) Blocked(stream string, yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	m.blockedBy.WithLabelValues(stream).Set(v)
}
