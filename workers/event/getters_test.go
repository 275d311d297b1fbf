package event_test

import (
	"slices"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// fromGetters builds the message from what the view and its getters say, and from ToProto
// what has no getter.
func fromGetters(e *event.Event) *eventv1.Event {
	m := &eventv1.Event{
		Id: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
		TimeUnixNano: uint64(e.Time), ObservedTimeUnixNano: uint64(e.ObservedTime), IngestTimeUnixNano: uint64(e.IngestTime),
		SeverityNumber: e.Severity, SeverityText: e.SeverityText(), PartitionKey: e.PartitionKey,
		TraceId: copied(e.TraceID), SpanId: copied(e.SpanID), ParentSpanId: copied(e.ParentSpanID()),
		TraceFlags: e.TraceFlags(), TraceState: e.TraceState(), Body: e.Body, Fingerprint: e.Fingerprint(),
		DataContentType: e.DataContentType(), DataSchema: e.DataSchema(), Data: copied(e.Data()),
	}
	whole, err := e.ToProto()
	if err != nil {
		panic(err)
	}
	if whole.Entity != nil || e.Entity != (event.EntityRef{}) {
		m.Entity = refOf(e.Entity)
	}
	if m.Count = whole.Count; max(whole.Count, 1) != e.Count {
		m.Count = e.Count
	}
	e.RelatedRefs(func(r event.EntityRef) bool { m.Related = append(m.Related, refOf(r)); return true })
	e.Resources(into(&m.Resource))
	e.Attributes(into(&m.Attributes))
	e.Extensions(into(&m.Extensions))
	signalFromGetters(e, m, whole)
	if s, ok := e.Semantic(); ok {
		m.Semantic = &eventv1.Semantic{Class: s.Class, Category: s.Category, RuleId: s.RuleID, Confidence: s.Confidence}
	}
	if i, ok := e.Impact(); ok {
		m.Impact = &eventv1.Impact{Score: i.Score, Criticality: i.Criticality, AffectedServices: i.AffectedServices, AffectedPods: i.AffectedPods, Reasons: i.Reasons}
	}
	if c, ok := e.Correlation(); ok {
		m.Correlation = &eventv1.Correlation{CorrelationId: c.CorrelationID, CausationId: c.CausationID, IncidentId: c.IncidentID}
		for _, l := range c.Links {
			m.Correlation.Links = append(m.Correlation.Links, &eventv1.Link{EventId: l.EventID, Relation: l.Relation, RuleId: l.RuleID, DeltaNs: l.DeltaNs})
		}
	}
	e.Enrichments(func(r event.Enrichment) bool {
		m.Enrichment = append(m.Enrichment, &eventv1.Enrichment{By: r.By, Status: r.Status, AtUnixNano: uint64(r.At)})
		return true
	})
	e.SpanLinks(func(l event.SpanLink) bool {
		m.SpanLinks = append(m.SpanLinks, &eventv1.SpanLink{TraceId: copied(l.TraceID), SpanId: copied(l.SpanID)})
		return true
	})
	return m
}

func signalFromGetters(e *event.Event, m, whole *eventv1.Event) {
	switch whole.Signal.(type) {
	case *eventv1.Event_Insight, *eventv1.Event_Anomaly, *eventv1.Event_Trend:
		m.Signal = whole.Signal // no getter
	}
	if s, ok := e.Metric(); ok {
		m.Signal = &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: s.Name, Value: s.Value, Unit: s.Unit, Kind: s.Kind}}
	}
	if s, ok := e.Log(); ok {
		m.Signal = &eventv1.Event_Log{Log: &eventv1.Log{Logger: s.Logger, ErrorType: s.ErrorType, StackTrace: s.StackTrace}}
	}
	if s, ok := e.KubernetesEvent(); ok {
		m.Signal = &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{
			Reason: s.Reason, Action: s.Action, Type: s.Type, ReportingController: s.ReportingController,
			ReportingInstance: s.ReportingInstance, Uid: s.UID,
		}}
	}
	if s, ok := e.Network(); ok {
		m.Signal = &eventv1.Event_Network{Network: &eventv1.Network{
			Protocol: s.Protocol, SourceIp: s.SourceIP, SourcePort: s.SourcePort, DestinationIp: s.DestinationIP,
			DestinationPort: s.DestinationPort, BytesSent: s.BytesSent, BytesReceived: s.BytesReceived,
			DurationNs: s.DurationNs, StatusCode: s.StatusCode, Method: s.Method, Path: s.Path,
		}}
	}
	if s, ok := e.Kernel(); ok {
		m.Signal = &eventv1.Event_Kernel{Kernel: &eventv1.Kernel{Syscall: s.Syscall, Pid: s.PID, Uid: s.UID, Command: s.Command, ReturnCode: s.ReturnCode}}
	}
	if s, ok := e.Span(); ok {
		m.Signal = &eventv1.Event_Span{Span: &eventv1.Span{Name: s.Name, Kind: s.Kind, DurationNs: s.DurationNs, Status: s.Status, PeerService: s.PeerService}}
	}
}

func refOf(r event.EntityRef) *eventv1.EntityRef {
	return &eventv1.EntityRef{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Uid: r.UID, ApiVersion: r.APIVersion, Cluster: r.Cluster, Role: r.Role}
}

func into(pairs *[]*eventv1.KeyValue) func(string, event.Value) bool {
	return func(key string, v event.Value) bool {
		kv := &eventv1.KeyValue{Key: key}
		switch v.Kind() {
		case event.String:
			kv.Value = &eventv1.KeyValue_StringValue{StringValue: v.Str()}
		case event.Bytes:
			kv.Value = &eventv1.KeyValue_BytesValue{BytesValue: slices.Clone(v.Bytes())}
		case event.Bool:
			kv.Value = &eventv1.KeyValue_BoolValue{BoolValue: v.Bool()}
		case event.Double:
			d, _ := v.Float()
			kv.Value = &eventv1.KeyValue_DoubleValue{DoubleValue: d}
		case event.Int:
			n, _ := v.Int()
			kv.Value = &eventv1.KeyValue_IntValue{IntValue: n}
		}
		*pairs = append(*pairs, kv)
		return true
	}
}

func copied(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return slices.Clone(b)
}
