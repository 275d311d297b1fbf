package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/analyze/novelty"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// episode is the anomalies of one workload that belong together.
type episode struct {
	id          string
	root        *eventv1.EntityRef
	begun       int64 // the time of the anomaly that began it
	seen        int64 // the stream time of the last one
	first, last int64 // the times of those that belong to it
	evidence    []*eventv1.Evidence
	series      []string // that have anomalies
	worst       *eventv1.Event
	strong      bool // one of them is worth an insight alone
	count       uint32
	revision    uint32
	told        int   // series at the last revision
	toldAt      int64 // stream time
	pending     bool
	over        bool
}

// maxSeriesOfEpisode bounds what an episode remembers.
const maxSeriesOfEpisode = 256

// holds says that what happened at a time belongs to the episode. One that is further away on either side does
// not: were it only the far side, all that is late, or comes after a clock that was ahead, would.
func (ep *episode) holds(at int64) bool { return novelty.Near(at, ep.begun, episodeSpan) }

// begin opens an episode of a workload. Its id follows from when it began, by the span, and not from which anomaly
// that was: a rebuilt detector may miss the first one.
func (in *insights) begin(b *stage.Batch, key string, root *eventv1.EntityRef, at int64) *episode {
	if before, ok := in.open.Peek(key); ok {
		in.close(b, before)
	} else if in.open.Len() == in.max {
		oldest, ep, _ := in.open.GetOldest()
		if ep.holds(at) {
			in.evicted.Inc()
		}
		in.open.Remove(oldest)
		in.close(b, ep)
	}
	ep := &episode{
		id:   event.NewID(in.pipeline, TypeInsight, "anomaly", key, strconv.FormatInt(at/int64(episodeSpan), 10)),
		root: root, begun: at, first: at, last: at,
	}
	if told := in.resumed(ep.id); told != nil {
		ep.revision, ep.told = told.GetInsight().GetRevision(), 1
	}
	in.open.Add(key, ep)
	return ep
}

// anomaly adds a result to the episode of its workload. A person is told when one anomaly is strong or several series have one,
// again when their number has doubled: that a series is unusual is said once.
// at is when it happened, Unix nanoseconds: also for a clock that is ahead, as hosts of one workload differ.
func (in *insights) anomaly(b *stage.Batch, at int64, found *eventv1.Event, far bool) {
	root := workload(found)
	cluster := cmp.Or(root.GetCluster(), found.GetEntity().GetCluster()) // a workload that enrichment found is where its pod is
	key := cluster + "/" + root.GetKind() + "/" + root.GetNamespace() + "/" + root.GetName()
	ep, ok := in.open.Get(key)
	if !ok || !ep.holds(at) {
		ep = in.begin(b, key, root, at)
	}
	ep.add(found, at)
	ep.seen = max(ep.seen, b.Now.UnixNano())
	ep.strong = ep.strong || in.strong(found.GetAnomaly(), far)
	switch {
	case ep.told == 0 && (ep.strong || len(ep.series) >= together):
		in.tell(b, ep, ep.seen)
	case ep.told > 0 && len(ep.series) >= 2*ep.told && !ep.pending:
		ep.pending = true
		in.pending = append(in.pending, ep)
	}
}

func (ep *episode) add(found *eventv1.Event, at int64) {
	a := found.GetAnomaly()
	ep.first, ep.last = min(ep.first, at), max(ep.last, at)
	ep.count++
	if ep.worst == nil || a.GetScore() > ep.worst.GetAnomaly().GetScore() {
		ep.worst = found
	}
	if !slices.Contains(ep.series, found.GetSubject()) && len(ep.series) < maxSeriesOfEpisode {
		ep.series = append(ep.series, found.GetSubject())
	}
	if len(ep.evidence) < maxEvidence {
		ep.evidence = append(ep.evidence, &eventv1.Evidence{
			EventId: a.GetEventId(), Type: TypeAnomaly, TimeUnixNano: found.GetTimeUnixNano(), Relation: "same-workload",
			Text: found.GetBody(), Entity: found.GetEntity(),
		})
	}
}

// strong says whether an anomaly is worth a person's time alone: it is high above the threshold, or far outside of all that the series
// has been, and no small step.
func (in *insights) strong(a *eventv1.Anomaly, far bool) bool {
	if a.GetKind() == kindNovelty && small(a.GetValue(), a.GetExpected()) {
		return false
	}
	return far || a.GetScore() >= min(in.threshold+strong, novelty.MaxScore)
}

// tell produces the insight as it is now.
func (in *insights) tell(b *stage.Batch, ep *episode, now int64) {
	status := "open"
	if ep.revision > 0 {
		status = "updated"
	}
	ep.told, ep.toldAt, ep.pending = len(ep.series), now, false
	in.produce(b, ep, status)
}

// close ends an episode, for people too if they know of it.
func (in *insights) close(b *stage.Batch, ep *episode) {
	ep.over = true
	if ep.revision > 0 {
		in.produce(b, ep, "closed")
	}
}

func (in *insights) produce(b *stage.Batch, ep *episode, status string) {
	ep.revision++
	a := ep.worst.GetAnomaly()
	title := fmt.Sprintf("%s of %s %s", a.GetMetric(), entityText(ep.root, ep.worst.GetSubject()), whatOf(a.GetKind()))
	if ep.count > 1 {
		title = fmt.Sprintf("%d unusual values of %s", ep.count, entityText(ep.root, ep.worst.GetSubject()))
	}
	b.Produce(stage.NoParent, stage.Insights, in.event(ep.id, ep.worst, 17, &eventv1.Insight{
		Title: title, Summary: ep.worst.GetBody(), RuleId: "anomaly", Algorithm: a.GetAlgorithm(),
		Confidence: confidence(a.GetScore(), in.threshold), ConfidenceMethod: fmt.Sprintf("tail-score, n=%d values", a.GetObservations()),
		RootCause: ep.root, Evidence: slices.Clone(ep.evidence), Affected: []*eventv1.EntityRef{ep.root},
		FirstSeenUnixNano: uint64(ep.first), LastSeenUnixNano: uint64(ep.last), Count: ep.count,
		Status: status, Revision: ep.revision,
	}))
}

// whatOf is what a title says of a kind of finding.
func whatOf(kind string) string {
	switch kind {
	case kindFlatline:
		return "has frozen"
	case kindMissing:
		return "has fallen silent"
	}
	return "is unusual"
}
