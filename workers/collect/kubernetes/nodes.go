package kubernetes

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

const (
	aspectCordon        = "cordon"
	aspectPressureEnded = "pressure_ended"
)

// nodeFindings returns the conditions of a node that have changed: whether it is ready, and the
// pressures that have begun or ended; and that it was cordoned or uncordoned.
func nodeFindings(node *corev1.Node, p past) []finding {
	var all []finding
	for _, c := range node.Status.Conditions {
		typ, severity := conditionType(c)
		if typ == "" {
			continue
		}
		aspect := conditionAspectOf(c.Type)
		value := unix(c.LastTransitionTime) + "." + string(c.Status)
		if !later(value, p.value(aspect)) {
			continue
		}
		at := c.LastTransitionTime.Time
		event := nodeEvent(node, typ, severity, cmp.Or(c.Message, c.Reason),
			stringValue("k8s.node.condition.reason", c.Reason),
			stringValue("k8s.node.condition.status", string(c.Status)))
		event.TimeUnixNano = nanos(at)
		all = append(all, finding{aspect: aspect, value: value, event: event, at: at})
	}
	if f, ok := pressureEnded(node, p); ok {
		all = append(all, f)
	}
	if f, ok := cordon(node, p); ok {
		all = append(all, f)
	}
	return all
}

func conditionAspectOf(c corev1.NodeConditionType) string { return "condition/" + string(c) }

func nodeEvent(node *corev1.Node, typ string, severity int32, body string, attributes ...*eventv1.KeyValue) *eventv1.Event {
	return &eventv1.Event{
		Type: typ, Source: sourceOf(kindNode), SeverityNumber: severity, Count: 1, Body: body,
		Entity:     &eventv1.EntityRef{Kind: kindNode, Name: node.Name, Uid: string(node.UID), ApiVersion: "v1"},
		Attributes: attributes,
	}
}

// conditionType is the event type of a condition, empty when it is as it should be.
func conditionType(c corev1.NodeCondition) (typ string, severity int32) {
	holds := c.Status == corev1.ConditionTrue
	switch {
	case c.Type == corev1.NodeReady && holds:
		return typeNodeReady, severityInfo
	case c.Type == corev1.NodeReady:
		return typeNodeNotReady, severityError
	case c.Type == corev1.NodeMemoryPressure && holds:
		return typeNodeMemoryPressure, severityWarn
	case c.Type == corev1.NodeDiskPressure && holds:
		return typeNodeDiskPressure, severityWarn
	case c.Type == corev1.NodePIDPressure && holds:
		return typeNodePIDPressure, severityWarn
	}
	return "", 0
}

// pressureEnded is that no pressure holds any more of those that were published. Its value is
// <end>.<begin of the last pressure>: each pressure ends once.
func pressureEnded(node *corev1.Node, p past) (finding, bool) {
	begun, ended := int64(-1), corev1.NodeCondition{}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := nodeCondition(node, kind)
		if c != nil && c.Status == corev1.ConditionTrue {
			return finding{}, false
		}
		start := number(p.value(conditionAspectOf(kind)))
		switch {
		case start < 0:
			continue
		case c == nil || c.Status != corev1.ConditionFalse || c.LastTransitionTime.Unix() < start:
			return finding{}, false // whether it has ended nobody knows
		case ended.LastTransitionTime.Before(&c.LastTransitionTime):
			ended = *c
		}
		begun = max(begun, start)
	}
	if begun < 0 || run(p.value(aspectPressureEnded)) >= begun {
		return finding{}, false
	}
	at := ended.LastTransitionTime.Time
	event := nodeEvent(node, typeNodePressureEnded, severityInfo, cmp.Or(ended.Message, "no pressure is left"),
		stringValue("k8s.node.condition.reason", ended.Reason))
	event.TimeUnixNano = nanos(at)
	return finding{
		aspect: aspectPressureEnded, value: fmt.Sprintf("%d.%d", at.Unix(), begun), event: event, at: at, young: true,
	}, true
}

func nodeCondition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == kind {
			return c
		}
	}
	return nil
}

// cordon is that new pods are kept away from a node, or not any more. The API does not say when, so the
// value counts the changes: <change>.<unschedulable>. How a node is when it is seen first is no change,
// unless it is new.
func cordon(node *corev1.Node, p past) (finding, bool) {
	last, now := p.value(aspectCordon), strconv.FormatBool(node.Spec.Unschedulable)
	f := finding{aspect: aspectCordon, value: fmt.Sprintf("%d.%s", max(number(last), 0)+1, now)}
	_, before, known := strings.Cut(last, ".")
	switch {
	case known && before == now:
		return finding{}, false
	case !known && (!node.Spec.Unschedulable || p.old || p.record != nil):
		f.value = "0." + now
	case node.Spec.Unschedulable:
		f.event = nodeEvent(node, typeNodeCordoned, severityInfo, "cordoned: no new pods are scheduled here")
	default:
		f.event = nodeEvent(node, typeNodeUncordoned, severityInfo, "uncordoned: pods are scheduled here again")
	}
	return f, true
}
