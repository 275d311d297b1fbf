package kubernetes

import (
	"cmp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// eventFindings returns the news of a Kubernetes event: how often it has happened since the
// count that was published last.
func eventFindings(e *eventsv1.Event, p past) []finding {
	count, at := eventCount(e), eventTime(e)
	value, delta := p.count("", count, at)
	if delta <= 0 {
		return nil
	}
	out := &eventv1.Event{
		Type: typeEvent, Source: reporter(e), TimeUnixNano: nanos(at), SeverityNumber: eventSeverity(e.Type),
		Body: e.Note, Count: uint32(delta), Entity: regarding(&e.Regarding),
		Attributes: []*eventv1.KeyValue{
			stringValue("k8s.event.name", e.Name),
			intValue("k8s.event.count", count),
		},
		Signal: &eventv1.Event_KubernetesEvent{KubernetesEvent: &eventv1.KubernetesEvent{
			Reason: e.Reason, Action: e.Action, Type: e.Type, Uid: string(e.UID),
			ReportingController: cmp.Or(e.ReportingController, e.DeprecatedSource.Component),
			ReportingInstance:   e.ReportingInstance,
		}},
	}
	if first := eventStart(e); !first.IsZero() && !first.Equal(at) {
		out.Attributes = append(out.Attributes, stringValue("k8s.event.first_time", first.UTC().Format(time.RFC3339Nano)))
	}
	if name, ok := containerOf(e.Regarding.FieldPath); ok {
		out.Resource = append(out.Resource, stringValue("k8s.container.name", name))
	}
	if host := e.DeprecatedSource.Host; host != "" {
		out.Resource = append(out.Resource, stringValue("k8s.node.name", host))
	}
	if e.Related != nil {
		related := regarding(e.Related)
		related.Role = "regarding"
		out.Related = append(out.Related, related)
	}
	return []finding{{value: value, event: out, at: at}}
}

// eventSeverity is what the type of an Event means. Kubernetes knows Normal and Warning, but the API server
// takes any word for an Event of core/v1. A word that is neither, such as Error, is not normal.
func eventSeverity(typ string) int32 {
	if typ == "" || strings.EqualFold(typ, corev1.EventTypeNormal) {
		return severityInfo
	}
	return severityWarn
}

// eventCount is how often the event has happened. Recorders of core/v1 events count in a
// field that events.k8s.io calls deprecated; most of Kubernetes still uses them.
func eventCount(e *eventsv1.Event) int64 {
	if e.Series != nil {
		return int64(e.Series.Count)
	}
	return int64(max(e.DeprecatedCount, 1))
}

// eventTime is when it happened last.
func eventTime(e *eventsv1.Event) time.Time {
	if e.Series != nil && !e.Series.LastObservedTime.IsZero() {
		return e.Series.LastObservedTime.Time
	}
	for _, t := range []time.Time{e.DeprecatedLastTimestamp.Time, e.EventTime.Time, e.DeprecatedFirstTimestamp.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}

// eventStart is when it happened first.
func eventStart(e *eventsv1.Event) time.Time {
	if !e.EventTime.IsZero() {
		return e.EventTime.Time
	}
	return e.DeprecatedFirstTimestamp.Time
}

// reporter is the controller that reports the event, without its domain's slashes.
func reporter(e *eventsv1.Event) string {
	return cmp.Or(e.ReportingController, e.DeprecatedSource.Component, "events")
}

func regarding(o *corev1.ObjectReference) *eventv1.EntityRef {
	return &eventv1.EntityRef{
		Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Uid: string(o.UID), ApiVersion: o.APIVersion,
	}
}

// containerOf reads the name out of a field path such as spec.containers{app}.
func containerOf(path string) (string, bool) {
	_, rest, ok := strings.Cut(path, "ontainers{")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "}")
}
