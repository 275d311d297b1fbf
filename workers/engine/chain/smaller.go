package chain

import (
	"strings"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// smaller makes a new event that has to fit into one message smaller and smaller: as it is, with the first of
// what an insight lists, and with what names it alone. Each is a whole event.
var smaller = [...]func(*eventv1.Event) *eventv1.Event{
	func(m *eventv1.Event) *eventv1.Event { return m },
	func(m *eventv1.Event) *eventv1.Event { return digest(m, 16, 8<<10) },
	func(m *eventv1.Event) *eventv1.Event { return digest(m, 0, 512) },
}

// digest returns m with at most items of each list and text bytes of each text. Attributes, and what other stages
// added, are left out.
func digest(m *eventv1.Event, items, text int) *eventv1.Event {
	out := &eventv1.Event{
		Id: m.GetId(), Source: m.GetSource(), Type: m.GetType(), Subject: m.GetSubject(),
		TimeUnixNano: m.GetTimeUnixNano(), ObservedTimeUnixNano: m.GetObservedTimeUnixNano(), IngestTimeUnixNano: m.GetIngestTimeUnixNano(),
		SeverityNumber: m.GetSeverityNumber(), SeverityText: m.GetSeverityText(), PartitionKey: m.GetPartitionKey(),
		TraceId: m.GetTraceId(), SpanId: m.GetSpanId(), Entity: m.GetEntity(), Related: first(m.GetRelated(), items),
		Body: cut(m.GetBody(), text), Count: m.GetCount(), Fingerprint: m.GetFingerprint(), Signal: m.GetSignal(),
	}
	in := m.GetInsight()
	if in == nil {
		return out
	}
	out.Signal = &eventv1.Event_Insight{Insight: &eventv1.Insight{
		Title: cut(in.GetTitle(), text), Summary: cut(in.GetSummary(), text), RuleId: in.GetRuleId(), Algorithm: in.GetAlgorithm(),
		Confidence: in.GetConfidence(), ConfidenceMethod: in.GetConfidenceMethod(), RootCause: in.GetRootCause(),
		Evidence: first(in.GetEvidence(), items), Affected: first(in.GetAffected(), items),
		FirstSeenUnixNano: in.GetFirstSeenUnixNano(), LastSeenUnixNano: in.GetLastSeenUnixNano(),
		Count: in.GetCount(), Status: in.GetStatus(), Revision: in.GetRevision(),
	}}
	return out
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

// cut returns at most n bytes of s, in valid UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("...")], "") + "..."
}
