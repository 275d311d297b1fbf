package join

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/cloudevent"
)

// Attributes of a result.
const (
	attributePrefix    = "join."
	attributeResult    = attributePrefix + "result"
	attributeAnswered  = attributePrefix + "answered"
	attributeSilent    = attributePrefix + "silent"
	attributeMissing   = attributePrefix + "missing"
	attributeConflicts = attributePrefix + "conflicts"
	attributeApart     = attributePrefix + "apart.ms"
	attributeTook      = ".ms" // behind the name of the branch
)

// contentTypeBatch is the JSON batch format of CloudEvents.
const contentTypeBatch = "application/cloudevents-batch+json"

// inOrder brings the answers of a barrier that has ended into the order of the inputs.
func (b *barrier) inOrder() {
	slices.SortStableFunc(b.answers, func(x, y answer) int { return cmp.Compare(x.branch, y.branch) })
}

// took is how long the slowest answer of a branch took, in milliseconds.
func (b *barrier) took(branch int) (ms int64) {
	for _, a := range b.answers {
		if a.branch == branch {
			ms = max(ms, a.took/1e6)
		}
	}
	return ms
}

// ending is how a barrier has ended: why, and which branches have answered, and had nothing to say.
type ending struct {
	why              outcome
	answered, silent uint64
}

// encodedResult is what result is, made of the answers as they are encoded. ok is false where they have to be decoded. It may take the memory of the first answer.
func (j *join) encodedResult(b *barrier, why outcome) (result []byte, ok bool) {
	if !j.merges() {
		return nil, false
	}
	m := &j.merger
	if result, ok = m.extend(b); !ok {
		if result, ok = m.merge(b.events()); !ok {
			return nil, false
		}
	}
	if now := (ending{why, b.answered, b.silent}); j.lastEnding != now {
		text := appendText(j.endingText[:0], attributeResult, string(why))
		text = appendText(text, attributeAnswered, j.names(b.answered))
		text = appendText(text, attributeSilent, j.names(b.silent&^b.answered))
		text = appendText(text, attributeMissing, j.names(j.expected&^(b.answered|b.silent)))
		j.lastEnding, j.endingText = now, text
	}
	result = append(result, j.endingText...)
	for branch := range j.branches {
		if b.answered&(1<<branch) != 0 {
			result = appendInt(result, j.tookOf[branch], b.took(branch))
		}
	}
	return result, true
}

// result is what a barrier becomes: the event of the first branch that answered, in the order of the inputs, with what the others add.
func (j *join) result(b *barrier, why outcome) *eventv1.Event {
	answers := make([]*eventv1.Event, 0, len(b.answers))
	for _, event := range b.events() {
		answers = append(answers, decoded(event))
	}
	to := answers[0]
	var conflicts []string
	if j.merge == config.JoinCollect {
		to = collect(answers)
	} else {
		for _, a := range answers {
			a.Attributes = slices.DeleteFunc(a.GetAttributes(), endedBefore)
		}
		for _, from := range answers[1:] {
			conflicts = append(conflicts, mergeInto(to, from)...)
		}
	}
	set := func(key, value string) {
		if value != "" {
			setAttribute(to, &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}})
		}
	}
	set(attributeResult, string(why))
	set(attributeAnswered, j.names(b.answered))
	set(attributeSilent, j.names(b.silent&^b.answered))
	set(attributeMissing, j.names(j.expected&^(b.answered|b.silent)))
	set(attributeConflicts, strings.Join(distinct(conflicts), ","))
	if j.pairs {
		if apart, known := apart(answers); known {
			setAttribute(to, &eventv1.KeyValue{Key: attributeApart, Value: &eventv1.KeyValue_IntValue{IntValue: apart / 1e6}})
		}
		return to
	}
	for branch := range j.branches {
		if b.answered&(1<<branch) != 0 {
			setAttribute(to, &eventv1.KeyValue{Key: j.tookOf[branch], Value: &eventv1.KeyValue_IntValue{IntValue: b.took(branch)}})
		}
	}
	return to
}

// endedBefore says whether an attribute tells how a barrier of a join before this one ended.
func endedBefore(kv *eventv1.KeyValue) bool {
	switch kv.GetKey() {
	case attributeResult, attributeAnswered, attributeSilent, attributeMissing, attributeConflicts, attributeApart:
		return true
	}
	return false
}

// apart is the time between the first and the last of some events, by their own times; known = there are several, and all have one.
func apart(events []*eventv1.Event) (ns int64, known bool) {
	first, last := events[0].GetTimeUnixNano(), uint64(0)
	for _, e := range events {
		if e.GetTimeUnixNano() == 0 {
			return 0, false
		}
		first, last = min(first, e.GetTimeUnixNano()), max(last, e.GetTimeUnixNano())
	}
	return int64(last - first), len(events) > 1
}

// decoded decodes an answer, which was found to be whole when it came.
func decoded(b []byte) *eventv1.Event {
	e := &eventv1.Event{}
	if err := proto.Unmarshal(b, e); err != nil {
		panic(fmt.Sprintf("an answer that was decoded before cannot be: %v", err))
	}
	return e
}

// collect is the first answer with the list of all as its data: CloudEvents in their JSON batch format.
func collect(answers []*eventv1.Event) *eventv1.Event {
	list := []byte{'['}
	for i, a := range answers {
		if i > 0 {
			list = append(list, ',')
		}
		list = cloudevent.AppendProto(list, a)
	}
	first := answers[0]
	return &eventv1.Event{
		Id: first.GetId(), Source: first.GetSource(), Type: first.GetType(), Subject: first.GetSubject(), PartitionKey: first.GetPartitionKey(),
		TimeUnixNano: first.GetTimeUnixNano(), ObservedTimeUnixNano: first.GetObservedTimeUnixNano(), IngestTimeUnixNano: first.GetIngestTimeUnixNano(),
		SeverityNumber: first.GetSeverityNumber(), SeverityText: first.GetSeverityText(), Entity: first.GetEntity(), Body: first.GetBody(),
		TraceId: first.GetTraceId(), SpanId: first.GetSpanId(), TraceFlags: first.GetTraceFlags(), TraceState: first.GetTraceState(),
		DataContentType: contentTypeBatch, Data: append(list, ']'),
	}
}

func setAttribute(e *eventv1.Event, kv *eventv1.KeyValue) {
	for i, have := range e.GetAttributes() {
		if have.GetKey() == kv.GetKey() {
			e.Attributes[i] = kv
			return
		}
	}
	e.Attributes = append(e.Attributes, kv)
}
