package generator

import (
	"fmt"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/event"
)

// How each type of event is made.

const source = "/clusters/demo/"

func text(key, value string) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_StringValue{StringValue: value}}
}

func number(key string, value int64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_IntValue{IntValue: value}}
}

func decimal(key string, value float64) *eventv1.KeyValue {
	return &eventv1.KeyValue{Key: key, Value: &eventv1.KeyValue_DoubleValue{DoubleValue: value}}
}

func severe(e *eventv1.Event, number int32) *eventv1.Event {
	e.SeverityNumber, e.SeverityText = number, event.SeverityText(number)
	return e
}

func subject(ref *eventv1.EntityRef) string {
	if ref.GetNamespace() == "" {
		return ref.GetKind() + "/" + ref.GetName()
	}
	return ref.GetKind() + "/" + ref.GetNamespace() + "/" + ref.GetName()
}

// state is a k8s.pod.*, k8s.node.* or k8s.deployment.* event, as the collector finds it.
func (s *script) state(at time.Time, typ string, severity int32, about *eventv1.EntityRef, body string, attributes ...*eventv1.KeyValue) *eventv1.Event {
	return s.add(at, severe(&eventv1.Event{
		Source: source + plural(about.GetKind()), Type: typ, Subject: subject(about), Entity: about, Body: body, Count: 1,
		Resource: []*eventv1.KeyValue{text("k8s.cluster.name", "demo")}, Attributes: attributes,
	}, severity))
}

func plural(kind string) string {
	switch kind {
	case "Pod":
		return "pods"
	case "Node":
		return "nodes"
	}
	return "deployments"
}

// podState is a state of a pod or of its container.
func (s *script) podState(at time.Time, typ string, severity int32, p *pod, body string, attributes ...*eventv1.KeyValue) *eventv1.Event {
	e := s.state(at, typ, severity, p.ref(), body, attributes...)
	owner := p.of.revisionRef(p.by)
	owner.Role = "owner"
	e.Related = append(e.Related, owner)
	if p.on != nil {
		on := p.on.ref()
		on.Role = "node"
		e.Related = append(e.Related, on)
	}
	return e
}

// kubernetes is an Event of Kubernetes about an object.
func (s *script) kubernetes(at time.Time, about *eventv1.EntityRef, kind, reason, reporter, note string) *eventv1.Event {
	severity := int32(event.SeverityInfo)
	if kind == "Warning" {
		severity = event.SeverityWarn
	}
	return s.add(at, severe(&eventv1.Event{
		Source: source + reporter, Type: "k8s.event", Subject: subject(about), Entity: about, Body: note, Count: 1,
		Resource: []*eventv1.KeyValue{text("k8s.cluster.name", "demo")},
		Attributes: []*eventv1.KeyValue{
			text("k8s.event.name", about.GetName()+"."+hash32(fmt.Sprint(about.GetUid(), reason, len(s.events)))), number("k8s.event.count", 1),
		},
		Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{
			Reason: reason, Type: kind, ReportingController: reporter, ReportingInstance: reporter, Uid: uid("Event", fmt.Sprint(len(s.events))),
		}},
	}, severity))
}

// log is a line that a pod wrote.
func (s *script) log(at time.Time, p *pod, severity int32, logger, errorType, body string) *eventv1.Event {
	return s.add(at, severe(&eventv1.Event{
		Source: source + "nodes/" + p.on.name + "/logs", Type: "app.log", Subject: subject(p.ref()), Entity: p.ref(), Body: body,
		Resource: []*eventv1.KeyValue{
			text("service.name", p.of.name), text("service.namespace", p.of.namespace), text("service.version", "1.4.2"),
			text("k8s.container.name", p.of.name), text("k8s.node.name", p.on.name),
		},
		Attributes: []*eventv1.KeyValue{text("log.iostream", "stderr"), number("thread.id", int64(s.r.IntN(64)))},
		Signal:     &eventv1.Event_Log{Log: &eventv1.Log{Logger: logger, ErrorType: errorType}},
	}, severity))
}

// trace is the context of a request.
type trace struct{ id, parent []byte }

func (s *script) newTrace() trace { return trace{id: s.random(16)} }

func (s *script) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	b[0] |= 1 // never zero
	return b
}

// request is one span of a request: p calls, or is called by, the service of peer.
func (s *script) request(at time.Time, t *trace, p *pod, peer *workload, kind, route string, took time.Duration, status int64) *eventv1.Event {
	span := &eventv1.Span{Name: "GET " + route, Kind: kind, DurationNs: uint64(took), Status: "unset"}
	severity := int32(event.SeverityInfo)
	if status >= 500 {
		span.Status, severity = "error", event.SeverityError
	}
	if peer != nil {
		span.PeerService = peer.name
	}
	e := s.add(at, severe(&eventv1.Event{
		Source: source + "otel", Type: "app.request", Subject: subject(p.ref()), Entity: p.ref(),
		Body: fmt.Sprintf("%s %s: %d", kind, span.Name, status), TraceId: t.id, SpanId: s.random(8), ParentSpanId: t.parent, TraceFlags: 1,
		Resource: []*eventv1.KeyValue{text("service.name", p.of.name), text("service.namespace", p.of.namespace), text("k8s.node.name", p.on.name)},
		Attributes: []*eventv1.KeyValue{
			text("http.request.method", "GET"), text("http.route", route), number("http.response.status_code", status),
		},
		Signal: &eventv1.Event_Span{Span: span},
	}, severity))
	if peer != nil {
		e.Attributes = append(e.Attributes, text("server.address", peer.name+"."+peer.namespace+".svc"), number("server.port", int64(peer.port)))
	}
	t.parent = e.SpanId
	return e
}

// sample is one value of a series.
func (s *script) sample(at time.Time, about *eventv1.EntityRef, name, unit string, value, limit float64) *eventv1.Event {
	e := s.add(at, &eventv1.Event{
		Source: source + "metrics", Type: "metric.sample", Subject: subject(about), Entity: about, SeverityNumber: event.SeverityInfo,
		Resource: []*eventv1.KeyValue{
			text("k8s.cluster.name", "demo"), text("k8s.namespace.name", about.GetNamespace()),
		},
		Attributes: []*eventv1.KeyValue{text("otel.scope.name", "kubeletstats")},
		Signal:     &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: name, Value: value, Unit: unit, Kind: "gauge"}},
	})
	if limit > 0 {
		e.Attributes = append(e.Attributes, decimal("metric.limit", limit))
	}
	return e
}
