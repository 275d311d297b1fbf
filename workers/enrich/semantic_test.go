package enrich_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
)

// meaning is what semantic says about an event.
type meaning struct {
	Class, Category, Rule string
	Severity              int32
}

func meaningOf(e *eventv1.Event) meaning {
	return meaning{e.GetSemantic().GetClass(), e.GetSemantic().GetCategory(), e.GetSemantic().GetRuleId(), e.SeverityNumber}
}

func kubernetesEvent(reason, body string, severity int32) *eventv1.Event {
	return &eventv1.Event{
		Type: "k8s.event", Body: body, SeverityNumber: severity,
		Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{Reason: reason}},
	}
}

func TestBuiltinRules(t *testing.T) {
	s := start(t, &config.Enrich{Semantic: &config.EnrichSemantic{}}, nil)
	for name, tc := range map[string]struct {
		in   *eventv1.Event
		want meaning
	}{
		"type": {&eventv1.Event{Type: "k8s.pod.oom_killed"}, meaning{"oom-kill", "capacity", "type/k8s.pod.oom_killed", 17}},
		"crash loop by its note": {
			kubernetesEvent("BackOff", "Back-off restarting failed container app", 13), meaning{"crash-loop", "availability", "reason/BackOff/crash-loop", 17},
		},
		"image pull by its note": {
			kubernetesEvent("BackOff", `Back-off pulling image "x"`, 13), meaning{"image-pull-failure", "availability", "reason/BackOff/image-pull-failure", 17},
		},
		"another back-off":  {kubernetesEvent("BackOff", "Back-off", 13), meaning{"back-off", "availability", "reason/BackOff", 13}},
		"scheduling failed": {kubernetesEvent("FailedScheduling", "0/3 nodes are available", 13), meaning{"unschedulable", "capacity", "reason/FailedScheduling", 13}},
		"a change":          {kubernetesEvent("ScalingReplicaSet", "Scaled up", 9), meaning{"scaling", "change", "reason/ScalingReplicaSet", 9}},
		"information":       {kubernetesEvent("Pulled", "Image pulled", 9), meaning{"image-pull", "information", "reason/Pulled", 9}},
		"unknown warning":   {kubernetesEvent("Wobbling", "", 13), meaning{"kubernetes-warning", "availability", "kubernetes/warning", 13}},
		"unknown normal":    {kubernetesEvent("Humming", "", 9), meaning{"kubernetes-event", "information", "kubernetes", 9}},
		"own severity is higher": {
			&eventv1.Event{Type: "k8s.pod.restarted", SeverityNumber: 21}, meaning{"container-restart", "availability", "type/k8s.pod.restarted", 21},
		},
		"error log":      {&eventv1.Event{Type: "app.log", SeverityNumber: 17, Body: "dial: connection refused"}, meaning{"connection-failure", "network", "log/connection-failure", 17}},
		"calm log":       {&eventv1.Event{Type: "app.log", SeverityNumber: 9, Body: "no connection refused today"}, meaning{"log", "information", "log", 9}},
		"failed request": {&eventv1.Event{Type: "app.request", SeverityNumber: 17}, meaning{"request-failure", "availability", "request/error", 17}},
		"nothing known":  {&eventv1.Event{Type: "weather.rain", SeverityNumber: 5}, meaning{Severity: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.process(t, tc.in)[0]
			if diff := cmp.Diff(tc.want, meaningOf(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			status := "ok"
			if tc.want.Class == "" {
				status = "miss"
			}
			if got := statuses(got)["semantic"]; got != status {
				t.Errorf("status: got %q, want %q", got, status)
			}
		})
	}
}

// Users' rules come first, in their order, and set the severity up or down.
func TestUserRules(t *testing.T) {
	c := &config.Enrich{Semantic: &config.EnrichSemantic{Rules: []config.SemanticRule{
		{ID: "quiet", Type: "k8s.event", Reason: "BackOff", Contains: "test-", Class: "test-noise", Category: "information", Severity: 5},
		{ID: "pods", Type: "k8s.pod.*", Class: "pod-trouble", Category: "availability", Severity: 21},
		{ID: "late", Type: "k8s.pod.evicted", Class: "never", Category: "change"},
		{ID: "reason", Reason: "Wobbling", Class: "wobble", Category: "performance"},
		{ID: "pay", Type: "shop.payment", Contains: "declined", Class: "declined", Category: "security"},
		{ID: "shop", Type: "shop.*", Class: "shopping", Category: "information"},
	}}}
	s := start(t, c, nil)
	for name, tc := range map[string]struct {
		in   *eventv1.Event
		want meaning
	}{
		"severity goes down":     {kubernetesEvent("BackOff", "Back-off restarting failed container in pod test-1", 13), meaning{"test-noise", "information", "quiet", 5}},
		"text does not match":    {kubernetesEvent("BackOff", "Back-off restarting failed container", 13), meaning{"crash-loop", "availability", "reason/BackOff/crash-loop", 17}},
		"below a prefix":         {&eventv1.Event{Type: "k8s.pod.evicted", SeverityNumber: 13}, meaning{"pod-trouble", "availability", "pods", 21}},
		"unknown below a prefix": {&eventv1.Event{Type: "k8s.pod.sneezed"}, meaning{"pod-trouble", "availability", "pods", 21}},
		"not below the prefix":   {&eventv1.Event{Type: "k8s.podium.x"}, meaning{}},
		"reason of any type":     {kubernetesEvent("Wobbling", "", 9), meaning{"wobble", "performance", "reason", 9}},
		"reason, other type":     {&eventv1.Event{Type: "custom", Signal: kubernetesEvent("Wobbling", "", 0).Signal}, meaning{"wobble", "performance", "reason", 0}},
		"exact before prefix":    {&eventv1.Event{Type: "shop.payment", Body: "card declined"}, meaning{"declined", "security", "pay", 0}},
		"falls to the prefix":    {&eventv1.Event{Type: "shop.payment", Body: "ok"}, meaning{"shopping", "information", "shop", 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, meaningOf(s.process(t, tc.in)[0])); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestTrace(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceID, spanID := []byte("0123456789abcdef"), []byte("01234567")
	fromParent := &eventv1.SpanLink{
		TraceId: []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"), SpanId: []byte("\xb7\xad\x6b\x71\x69\x20\x33\x31"),
	}
	s := start(t, &config.Enrich{Trace: &config.EnrichTrace{}}, nil)
	for name, tc := range map[string]struct {
		in      *eventv1.Event
		status  string
		traceID []byte
		links   []*eventv1.SpanLink
	}{
		"none":             {&eventv1.Event{}, "miss", nil, nil},
		"its own":          {&eventv1.Event{TraceId: traceID, SpanId: spanID}, "ok", traceID, nil},
		"zero ids":         {&eventv1.Event{TraceId: make([]byte, 16), SpanId: make([]byte, 8)}, "miss", make([]byte, 16), nil},
		"from extension":   {&eventv1.Event{Extensions: []*eventv1.KeyValue{text("traceparent", parent)}}, "ok", fromParent.TraceId, nil},
		"from attribute":   {&eventv1.Event{Attributes: []*eventv1.KeyValue{text("traceparent", parent)}}, "ok", fromParent.TraceId, nil},
		"zeros, extension": {&eventv1.Event{TraceId: make([]byte, 16), SpanId: make([]byte, 8), Extensions: []*eventv1.KeyValue{text("traceparent", parent)}}, "ok", fromParent.TraceId, nil},
		"malformed":        {&eventv1.Event{Extensions: []*eventv1.KeyValue{text("traceparent", parent[:54])}}, "miss", nil, nil},
		"upper case":       {&eventv1.Event{Extensions: []*eventv1.KeyValue{text("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01")}}, "miss", nil, nil},
		"parent span": {
			&eventv1.Event{TraceId: traceID, SpanId: spanID, ParentSpanId: []byte("parent-1")}, "ok", traceID,
			[]*eventv1.SpanLink{{TraceId: traceID, SpanId: []byte("parent-1")}},
		},
		"cause": {
			&eventv1.Event{Correlation: &eventv1.Correlation{CausationId: parent, CorrelationId: "order-17"}}, "miss", nil, []*eventv1.SpanLink{fromParent},
		},
		"cause that is linked": {
			&eventv1.Event{Correlation: &eventv1.Correlation{CausationId: parent}, SpanLinks: []*eventv1.SpanLink{fromParent}}, "miss", nil, []*eventv1.SpanLink{fromParent},
		},
		"cause is an event": {&eventv1.Event{Correlation: &eventv1.Correlation{CausationId: "event-1"}}, "miss", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.process(t, tc.in)[0]
			if status := statuses(got)["trace"]; status != tc.status {
				t.Errorf("status: got %q, want %q", status, tc.status)
			}
			if diff := cmp.Diff(tc.traceID, got.TraceId); diff != "" {
				t.Errorf("trace id: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tc.links, got.SpanLinks, protocmp.Transform()); diff != "" {
				t.Errorf("links: -want +got\n%s", diff)
			}
		})
	}
}
