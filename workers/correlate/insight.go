package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// The types of the events that the stage makes.
const (
	TypeInsight = "millrace.insight"
	TypeGroup   = "millrace.correlation.group"
)

const algorithm = "causal-rules/v1"

// The states of an incident, as insights have them.
const (
	statusOpen    = "open"
	statusUpdated = "updated"
	statusClosed  = "closed"
)

// voice is who publishes insights.
type voice struct {
	source   string // of the events
	pipeline string // keeps the ids of pipelines apart
}

// saysMore says whether an insight of now says something else than the last one: another first line, severity or
// root, or twice as many that are affected. That something happened again is no news.
func (i *incident) saysMore() bool {
	root := i.root()
	if i.stands(root, i.symptom()) {
		return len(i.affected) >= 2*i.toldAffected
	}
	return !sameNews(root, i.toldRoot) || i.severity() != i.toldSeverity || len(i.affected) >= 2*i.toldAffected ||
		i.title(root, i.symptom()) != i.toldTitle
}

// sameNews says whether two roots are the same to who reads of them, as two pods of a workload that were
// killed are.
func sameNews(a, b *observation) bool {
	return a == b || a.signal == b.signal && subjectKey(refOf(a)) == subjectKey(refOf(b))
}

// tell makes the next revision of the incident's insight.
func (i *incident) tell(v voice, status string) *eventv1.Event {
	root, symptom := i.root(), i.symptom()
	severity := i.severity()
	i.revision++
	i.toldRoot, i.toldCount, i.toldAffected = root, i.count, len(i.affected)
	if status == "" {
		status = statusUpdated
		if i.revision == 1 {
			status = statusOpen
		}
	}
	if i.stands(root, symptom) {
		return i.again(status)
	}
	i.toldTitle, i.toldSeverity, i.recalled = i.title(root, symptom), severity, nil
	insight := &eventv1.Insight{
		Title: i.toldTitle, Summary: i.summary(root, symptom, status), RuleId: i.ruleID(root, symptom), Algorithm: algorithm,
		RootCause: i.cause(root), Evidence: i.evidence(root), Affected: i.affected,
		FirstSeenUnixNano: uint64(i.first), LastSeenUnixNano: uint64(i.last), Count: i.count, Status: status, Revision: i.revision,
	}
	i.mended(insight)
	insight.Confidence, insight.ConfidenceMethod = confidence(len(i.kinds))
	e := &eventv1.Event{
		Id: event.NewID("insight", v.pipeline, i.id), Source: v.source, Type: TypeInsight, Subject: name(symptom.subject),
		TimeUnixNano: uint64(i.last), SeverityNumber: severity, SeverityText: event.SeverityText(severity),
		PartitionKey: i.id, Entity: i.cause(root), Body: insight.Title,
		Correlation: &eventv1.Correlation{CorrelationId: i.id, IncidentId: i.id, CausationId: root.id},
		Signal:      &eventv1.Event_Insight{Insight: insight},
	}
	// The event goes out while the incident goes on changing.
	return fit(proto.CloneOf(e))
}

// again makes the next revision of an insight of which people know more than this worker does.
func (i *incident) again(status string) *eventv1.Event {
	e := proto.CloneOf(i.recalled)
	insight := e.GetInsight()
	insight.Affected, insight.LastSeenUnixNano, insight.Count, insight.Status, insight.Revision = i.affected, uint64(i.last), i.count, status, i.revision
	e.TimeUnixNano = uint64(i.last)
	if status == statusClosed && i.partOf == nil {
		insight.Summary += i.ending()
	}
	i.mended(insight)
	return fit(proto.CloneOf(e))
}

// mended adds by what an incident ended.
func (i *incident) mended(insight *eventv1.Insight) {
	if insight.Status == statusClosed && i.mender != nil {
		insight.Evidence = append(insight.Evidence, evidenceOf(i.mender, "mended-by"))
	}
}

// maxInsight bounds an insight, in bytes of protobuf. JSON takes a few times as much, and must fit into the max_payload
// of a NATS server, 1 MiB unless it is set.
const maxInsight = 64 << 10

// fit drops evidence, then affected workloads, the last first, until an insight fits. What is left is whole.
func fit(e *eventv1.Event) *eventv1.Event {
	in := e.GetInsight()
	for proto.Size(e) > maxInsight {
		switch {
		case len(in.Evidence) > 1:
			in.Evidence = in.Evidence[:len(in.Evidence)-1]
		case len(in.Affected) > 1:
			in.Affected = in.Affected[:len(in.Affected)-1]
		default:
			return e
		}
	}
	return e
}

// severity is that of the worst rule, and fatal when three workloads or more are concerned.
func (i *incident) severity() int32 {
	worst := int32(9)
	for _, o := range i.events {
		worst = max(worst, rules[o.signal].severity)
	}
	if worst >= 17 && len(i.affected) >= 3 {
		return 21
	}
	return worst
}

// confidence orders insights by how much speaks for them: the mean of a Beta(1,1) prior
// after n kinds of links that hold and none that does not. The same link again speaks for nothing new. It is no
// measured precision, and the method says what it is.
func confidence(kinds int) (float64, string) {
	return float64(kinds+1) / float64(kinds+2), fmt.Sprintf("evidence-count, n=%d kinds of causal links: (n+1)/(n+2)", kinds)
}

func (i *incident) ruleID(root, symptom *observation) string {
	if i.shared != nil {
		return "dependency>" + symptom.signal.String()
	}
	if !explains(root, symptom) || root.signal == symptom.signal {
		return symptom.signal.String()
	}
	return root.signal.String() + ">" + symptom.signal.String()
}

// evidence lists the events with how each is tied to the incident, root first, then by time.
func (i *incident) evidence(root *observation) []*eventv1.Evidence {
	events := slices.Clone(i.events)
	slices.SortStableFunc(events, func(a, b *observation) int {
		switch {
		case a == root:
			return -1
		case b == root:
			return 1
		case a.time != b.time:
			if a.time < b.time {
				return -1
			}
			return 1
		}
		return strings.Compare(a.id, b.id)
	})
	if events[0] != root { // it is in the incident that took no more
		events = slices.Insert(events, 0, root)
	}
	if len(events) > maxEvidence {
		events = events[:maxEvidence]
	}
	out := make([]*eventv1.Evidence, 0, len(events))
	for _, o := range events {
		relation := "same-workload"
		switch {
		case o == root:
			relation = "root"
		case o.cause != nil:
			relation = "caused-by " + o.cause.id + " (" + o.link.over.String() + ")"
		}
		out = append(out, evidenceOf(o, relation))
	}
	return out
}

func evidenceOf(o *observation, relation string) *eventv1.Evidence {
	return &eventv1.Evidence{
		EventId: o.id, Type: o.kind, TimeUnixNano: uint64(o.time), Relation: relation, Text: cmp.Or(o.text, rules[o.signal].says), Entity: entityOrSubject(o),
	}
}
