package correlate

import (
	"fmt"
	"slices"
	"strings"
	"time"

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

// worthTelling says whether people should hear of the incident (again): the first time, when
// another root is likelier, when another workload is concerned, or when it has doubled.
func (i *incident) worthTelling(root *observation) bool {
	return i.revision == 0 || !sameNews(root, i.toldRoot) || len(i.affected) > i.toldAffected || i.count >= 2*i.toldCount
}

// sameNews says whether two roots are the same to who reads of them, as two pods of a workload that were
// killed are.
func sameNews(a, b *observation) bool {
	return a == b || a.signal == b.signal && subjectKey(refOf(a)) == subjectKey(refOf(b))
}

// tell makes the next revision of the incident's insight.
func (i *incident) tell(source, status string) *eventv1.Event {
	root, symptom := i.root(), i.symptom()
	i.revision++
	i.toldRoot, i.toldCount, i.toldAffected = root, i.count, len(i.affected)
	if status == "" {
		status = "updated"
		if i.revision == 1 {
			status = "open"
		}
	}
	severity := i.severity()
	evidence := i.evidence(root)
	insight := &eventv1.Insight{
		Title: title(root, symptom), Summary: i.summary(root, symptom), RuleId: ruleID(root, symptom), Algorithm: algorithm,
		RootCause: refOf(root), Evidence: evidence, Affected: i.affected,
		FirstSeenUnixNano: uint64(i.first), LastSeenUnixNano: uint64(i.last), Count: i.count, Status: status, Revision: i.revision,
	}
	insight.Confidence, insight.ConfidenceMethod = confidence(i.links)
	e := &eventv1.Event{
		Id: hash("insight", source, i.id), Source: source, Type: TypeInsight, Subject: name(symptom.subject),
		TimeUnixNano: uint64(i.last), SeverityNumber: severity, SeverityText: event.SeverityText(severity),
		PartitionKey: i.id, Entity: refOf(root), Body: insight.Title,
		Correlation: &eventv1.Correlation{CorrelationId: i.id, IncidentId: i.id, CausationId: root.id},
		Signal:      &eventv1.Event_Insight{Insight: insight},
	}
	// The event goes out while the incident goes on changing.
	return proto.CloneOf(e)
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
// after n links that hold and none that does not. It is no measured precision, and the
// method says what it is.
func confidence(links uint32) (float64, string) {
	return float64(links+1) / float64(links+2), fmt.Sprintf("evidence-count, n=%d causal links: (n+1)/(n+2)", links)
}

func ruleID(root, symptom *observation) string {
	if !explains(root, symptom) || root.signal == symptom.signal {
		return symptom.signal.String()
	}
	return root.signal.String() + ">" + symptom.signal.String()
}

// refOf is whom a person should look at: the entity of an event, or its workload where
// that tells more.
func refOf(o *observation) *eventv1.EntityRef {
	if o.entity.GetKind() == "Node" || o.subject.GetName() == "" {
		return o.entity
	}
	return o.subject
}

func title(root, symptom *observation) string {
	t := name(refOf(symptom)) + " " + rules[symptom.signal].says
	if !explains(root, symptom) {
		return t
	}
	return t + ", most likely because " + name(refOf(root)) + " " + rules[root.signal].says
}

// explains says whether naming the root tells more than naming the symptom: that a workload
// crash-loops because it restarted, or a pod of it did the same before, is no news.
func explains(root, symptom *observation) bool {
	same := name(refOf(root)) == name(refOf(symptom))
	return root != symptom && (!same || (root.signal != symptom.signal && (rules[root.signal].rank == 0 || rules[root.signal].alone)))
}

// summary tells the chain of causes in plain words, from the links alone.
func (i *incident) summary(root, symptom *observation) string {
	var chain []*observation
	for o := symptom; o != nil && len(chain) < maxChain; o = o.cause {
		chain = append(chain, o)
	}
	slices.Reverse(chain)
	if chain[0] != root && explains(root, symptom) { // the symptom has another history than most
		chain = append([]*observation{root}, chain...)
	}
	var b strings.Builder
	for k, o := range chain {
		at := time.Unix(0, o.time).UTC()
		switch {
		case k == 0:
			fmt.Fprintf(&b, "%s %s at %s", name(entityOrSubject(o)), rules[o.signal].says, at.Format("15:04:05"))
		default:
			fmt.Fprintf(&b, "; %s later %s %s", apart(chain[k-1], o), name(entityOrSubject(o)), rules[o.signal].says)
		}
	}
	if text := symptom.text; text != "" {
		fmt.Fprintf(&b, " (%q)", text)
	}
	if i.links == 0 {
		b.WriteString("; no cause was seen")
	}
	fmt.Fprintf(&b, ". %d events, %d affected.", i.count, len(i.affected))
	if i.partOf != nil {
		fmt.Fprintf(&b, " Part of incident %s.", i.partOf.find().id)
	}
	return b.String()
}

func apart(a, b *observation) string {
	return max(0, time.Duration(b.time-a.time)).Round(100 * time.Millisecond).String()
}

func entityOrSubject(o *observation) *eventv1.EntityRef {
	if o.entity.GetName() != "" {
		return o.entity
	}
	return o.subject
}

func name(r *eventv1.EntityRef) string {
	kind := strings.ToLower(r.GetKind())
	if r.GetNamespace() == "" {
		return strings.TrimSpace(kind + " " + r.GetName())
	}
	return kind + " " + r.GetNamespace() + "/" + r.GetName()
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
		text := o.text
		if text == "" {
			text = rules[o.signal].says
		}
		out = append(out, &eventv1.Evidence{
			EventId: o.id, Type: o.kind, TimeUnixNano: uint64(o.time), Relation: relation, Text: text, Entity: entityOrSubject(o),
		})
	}
	return out
}
