package kubernetes

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// nodeFindings returns the conditions of a node that have changed: whether it is ready, and
// the pressures that have begun. That a pressure has ended is no event.
func nodeFindings(node *corev1.Node, p past) []finding {
	var all []finding
	for _, c := range node.Status.Conditions {
		typ, severity := conditionType(c)
		if typ == "" {
			continue
		}
		aspect := "condition/" + string(c.Type)
		value := unix(c.LastTransitionTime) + "." + string(c.Status)
		if !later(value, p.value(aspect)) {
			continue
		}
		at := c.LastTransitionTime.Time
		all = append(all, finding{aspect, value, &eventv1.Event{
			Type: typ, Source: "nodes", TimeUnixNano: nanos(at), SeverityNumber: severity, Count: 1,
			Body:   cmp.Or(c.Message, c.Reason),
			Entity: &eventv1.EntityRef{Kind: kindNode, Name: node.Name, Uid: string(node.UID), ApiVersion: "v1"},
			Attributes: []*eventv1.KeyValue{
				stringValue("k8s.node.condition.reason", c.Reason),
				stringValue("k8s.node.condition.status", string(c.Status)),
			},
		}, at})
	}
	return all
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
