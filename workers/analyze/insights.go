package analyze

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

const (
	// strong is how far above the threshold a single anomaly is worth a person's time. A clean series reaches that four times less often.
	strong = 3
	// together is how many series of one workload are, whatever their scores.
	together = 3
	// episodeSpan is how long anomalies of one workload belong together, in event time. It is closed as long after the last.
	episodeSpan = 5 * time.Minute
	maxEpisodes = 10_000
	maxEvidence = 20
	// updateEvery is how long what an insight says is left as it is, in stream time.
	updateEvery = 30 * time.Second
	// exhaustion within this time is worth telling.
	horizon = time.Hour
	// LimitAttribute is the attribute of a metric event that says where its value ends, in
	// the metric's own unit: a memory limit, the size of a volume.
	LimitAttribute = "metric.limit"
)

// insights decides which results a person should see. Every insight that it opens it closes: an episode when it is over, a limit when
// it was not near for a window. A rebuilt stage knows the ids: they follow from the workload and when its episode began, or
// from the series.
type insights struct {
	source    string
	pipeline  string
	threshold float64
	far       time.Duration                      // after which a limit that was not near is closed
	open      *simplelru.LRU[string, *episode]   // by workload; the one that nothing came to for longest first
	limits    *simplelru.LRU[string, *openLimit] // by id
	pending   []*episode                         // with an update that is not told
	// predictions are open insights about scores of a model, by id.
	predictions *simplelru.LRU[string, *openPrediction]
	quiet       time.Duration // after which they are closed
	// recalled are open since before a takeover, and closed later than recalledUntil unless they go on.
	recalled      []*eventv1.Event
	recalledUntil int64
	max           int // of open, of limits, and of predictions
	evicted       prometheus.Counter
}

func newInsights(source, pipeline string, set settings, limit int, metrics prometheus.Registerer) insights {
	in := insights{
		source: source, pipeline: pipeline, threshold: set.tells(), far: (maxPoints + testEvery) * set.span, quiet: set.quiet, max: limit,
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_analyze_episodes_evicted_total", Help: "Workloads whose anomalies were forgotten before 5 minutes were over, for lack of room (10,000).",
		}),
	}
	in.open, _ = simplelru.NewLRU[string, *episode](limit, nil) // the size is positive
	in.limits, _ = simplelru.NewLRU[string, *openLimit](limit, nil)
	in.predictions, _ = simplelru.NewLRU[string, *openPrediction](limit, nil)
	if metrics != nil {
		metrics.MustRegister(in.evicted)
	}
	return in
}

// flush tells what waits to be told, and closes what is over in stream time. All of it waits no longer when final.
func (in *insights) flush(b *stage.Batch, final bool) {
	now := b.Now.UnixNano()
	left := in.pending[:0]
	for _, ep := range in.pending {
		switch {
		case ep.over:
		case final || now-ep.toldAt >= int64(updateEvery):
			in.tell(b, ep, now)
		default:
			left = append(left, ep)
		}
	}
	clear(in.pending[len(left):])
	in.pending = left
	for {
		key, ep, ok := in.open.GetOldest()
		if !ok || now-ep.seen <= int64(episodeSpan) {
			break
		}
		in.open.Remove(key)
		in.close(b, ep)
	}
	for {
		id, l, ok := in.limits.GetOldest()
		if !ok || now-l.seen <= int64(in.far) {
			break
		}
		in.limits.Remove(id)
		in.closeLimit(b, id, l)
	}
	in.closePredictions(b)
	in.closeRecalled(b, final)
}

// confidence maps a score to 0..0.25: an eighth at the threshold. It is how likely it is that the workload is what is wrong, as far as an anomaly alone tells: those
// of who calls it, and of whom it calls, look the same. docs/stages/analyze.md says how it was measured.
func confidence(score, threshold float64) float64 {
	return 0.25 * score / (score + max(threshold, 1))
}

func (in *insights) event(id string, about *eventv1.Event, severity int32, insight *eventv1.Insight) *eventv1.Event {
	return &eventv1.Event{
		Id: id, Source: in.source, Type: TypeInsight, Subject: about.GetSubject(), TimeUnixNano: about.GetTimeUnixNano(),
		IngestTimeUnixNano: about.GetIngestTimeUnixNano(), SeverityNumber: severity, SeverityText: event.SeverityText(severity),
		PartitionKey: about.GetPartitionKey(), Entity: insight.GetRootCause(), Body: insight.GetTitle(),
		Signal: &eventv1.Event_Insight{Insight: insight},
	}
}

// workload is the entity that people know: the workload that enrichment found, else what
// the event is about.
func workload(e *eventv1.Event) *eventv1.EntityRef {
	for _, r := range e.GetRelated() {
		if r.GetRole() == "workload" {
			return r
		}
	}
	if e.GetEntity() != nil {
		return e.GetEntity()
	}
	return &eventv1.EntityRef{Name: e.GetSubject()}
}
