package analyze

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

const (
	// strong is how far above the threshold a single anomaly is worth a person's time.
	strong = 3
	// together is how many anomalies of one workload are, whatever their scores.
	together = 3
	// episode is how long anomalies of one workload belong together, in event time.
	episode     = 5 * time.Minute
	maxEpisodes = 10_000
	maxEvidence = 20
	// exhaustion within this time is worth telling.
	horizon = time.Hour
	// LimitAttribute is the attribute of a metric event that says where its value ends, in
	// the metric's own unit: a memory limit, the size of a volume.
	LimitAttribute = "metric.limit"
)

// insights decides which results a person should see.
type insights struct {
	source    string
	threshold float64
	open      *simplelru.LRU[string, *anomalies]
	max       int // of open
	evicted   prometheus.Counter
}

// anomalies are those of one workload that belong together.
type anomalies struct {
	id          string
	begun       int64 // the time of the one that began the episode
	first, last int64 // of those that belong to it
	evidence    []*eventv1.Evidence
	count       uint32
	revision    uint32
	told        uint32 // count at the last revision
	best        float64
}

func newInsights(source string, threshold float64, limit int, metrics prometheus.Registerer) insights {
	open, _ := simplelru.NewLRU[string, *anomalies](limit, nil) // the size is positive
	in := insights{source: source, threshold: threshold, open: open, max: limit, evicted: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "millrace_analyze_episodes_evicted_total", Help: "Workloads whose anomalies were forgotten before 5 minutes were over, for lack of room (10,000).",
	})}
	if metrics != nil {
		metrics.MustRegister(in.evicted)
	}
	return in
}

// begin opens an episode of a workload.
func (in *insights) begin(key, found string, at int64) *anomalies {
	if _, oldest, _ := in.open.GetOldest(); in.open.Len() == in.max && oldest.holds(at) {
		in.evicted.Inc()
	}
	ep := &anomalies{id: id(TypeInsight, key, found), begun: at, first: at, last: at}
	in.open.Add(key, ep)
	return ep
}

// holds says that what happened at a time belongs to the episode. One that is further away on either side does
// not: were it only the far side, all that is late, or comes after a clock that was ahead, would.
func (a *anomalies) holds(at int64) bool {
	after := uint64(at) - uint64(a.begun)
	return after <= uint64(episode) || -after <= uint64(episode)
}

// anomaly adds a result to the episode of its workload, and tells about the episode when
// one anomaly is strong or there are several; again when it has doubled.
func (in *insights) anomaly(b *stage.Batch, e *event.Event, found *eventv1.Event) {
	root := workload(found)
	cluster := cmp.Or(root.GetCluster(), e.Entity.Cluster) // a workload that enrichment found is where its pod is
	key := cluster + "/" + root.GetKind() + "/" + root.GetNamespace() + "/" + root.GetName()
	at := b.Now.UnixNano() // also for a clock that is ahead: hosts of one workload differ
	if e.Time != 0 {
		at = min(at, e.Time)
	}
	ep, ok := in.open.Get(key)
	if !ok || !ep.holds(at) {
		ep = in.begin(key, found.GetId(), at)
	}
	ep.first, ep.last = min(ep.first, at), max(ep.last, at)
	a := found.GetAnomaly()
	ep.count++
	ep.best = max(ep.best, a.GetScore())
	if len(ep.evidence) < maxEvidence {
		ep.evidence = append(ep.evidence, &eventv1.Evidence{
			EventId: a.GetEventId(), Type: TypeAnomaly, TimeUnixNano: found.GetTimeUnixNano(), Relation: "same-workload",
			Text: found.GetBody(), Entity: found.GetEntity(),
		})
	}
	if (a.GetScore() < min(in.threshold+strong, maxScore) && ep.count < together) || (ep.told > 0 && ep.count < 2*ep.told) {
		return
	}
	ep.told = ep.count
	ep.revision++
	title := fmt.Sprintf("%s of %s is unusual", a.GetMetric(), entityText(root, found.GetSubject()))
	if ep.count > 1 {
		title = fmt.Sprintf("%d unusual values of %s", ep.count, entityText(root, found.GetSubject()))
	}
	status := "open"
	if ep.revision > 1 {
		status = "updated"
	}
	b.Produce(config.PortInsights, in.event(ep.id, found, 17, &eventv1.Insight{
		Title: title, Summary: found.GetBody(), RuleId: "anomaly", Algorithm: anomalyAlgorithm,
		Confidence: confidence(ep.best, in.threshold), ConfidenceMethod: fmt.Sprintf("tail-score, n=%d values", a.GetObservations()),
		RootCause: root, Evidence: append([]*eventv1.Evidence(nil), ep.evidence...), Affected: []*eventv1.EntityRef{root},
		FirstSeenUnixNano: uint64(ep.first), LastSeenUnixNano: uint64(ep.last), Count: ep.count,
		Status: status, Revision: ep.revision,
	}))
}

// confidence maps a score to 0..1: a half at the threshold, towards one above it. It orders
// findings; it is no calibrated probability, and the method says so.
func confidence(score, threshold float64) float64 {
	return score / (score + max(threshold, 1))
}

// toLimit is how far a value is below the limit that its event names; 0 = it names none, or is there. That of a counter
// is no limit of its rate.
func toLimit(e *event.Event, m event.Metric) (left float64) {
	v, ok := e.Attribute(LimitAttribute)
	if !ok || m.Kind == kindCounter {
		return 0
	}
	if limit, ok := v.Float(); ok && limit > m.Value { // NaN is not
		return limit - m.Value
	}
	return 0
}

// limit tells about a series that rises towards its limit. found is the trend as it is now.
func (in *insights) limit(b *stage.Batch, e *event.Event, m event.Metric, found *eventv1.Event, left float64) {
	t := found.GetTrend()
	when := seconds(left / t.GetSlopeHigh()).Round(time.Second).String()
	if low := t.GetSlopeLow(); low > 0 {
		when += " to " + seconds(left/low).Round(time.Second).String()
	} else { // many points are equal
		when += " or later"
	}
	root := workload(found)
	b.Produce(config.PortInsights, in.event(id(TypeInsight, found.GetId()), found, 13, &eventv1.Insight{
		Title: fmt.Sprintf("%s of %s nears its limit", m.Name, entityText(found.GetEntity(), found.GetSubject())),
		Summary: fmt.Sprintf("%s; at this rate the limit of %s is reached in %s", found.GetBody(),
			quantity(m.Value+left, m.Unit), when),
		RuleId: "trend-to-limit", Algorithm: trendAlgorithm, Confidence: 1 - t.GetPValue(),
		ConfidenceMethod: fmt.Sprintf("1 - p of Mann-Kendall, n=%d points", t.GetObservations()),
		RootCause:        root, Affected: []*eventv1.EntityRef{root}, Count: 1, Status: "open", Revision: 1,
		FirstSeenUnixNano: found.GetTimeUnixNano(), LastSeenUnixNano: found.GetTimeUnixNano(),
		Evidence: []*eventv1.Evidence{{
			EventId: strings.Clone(e.ID), Type: TypeTrend, TimeUnixNano: found.GetTimeUnixNano(), Relation: "same-series",
			Text: found.GetBody(), Entity: found.GetEntity(),
		}},
	}))
}

func seconds(s float64) time.Duration { return time.Duration(min(s, 1e9) * float64(time.Second)) }

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
