package kubernetes

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

const (
	aspectReady     = "ready"
	aspectNotReady  = "not_ready"
	aspectSucceeded = "succeeded"
	aspectEvicted   = "evicted"
	aspectFailed    = "failed"
)

// podFindings returns the news in the status of a pod.
func podFindings(pod *corev1.Pod, p past) []finding {
	var all []finding
	for _, c := range containerStatuses(pod) {
		all = append(all, containerFindings(pod, c, p)...)
	}
	all = append(all, conditionFindings(pod, p)...)
	if f, ok := failure(pod, p); ok && !slices.ContainsFunc(all, func(g finding) bool { return g.aspect == f.aspect }) {
		all = append(all, f)
	}
	if pod.Status.Phase == corev1.PodSucceeded && p.value(aspectSucceeded) == "" {
		at := failedAt(pod, p.record != nil)
		event := podEvent(pod, nil, typePodSucceeded, severityInfo, at, "all containers have ended with success")
		all = append(all, finding{aspect: aspectSucceeded, value: "1", event: event, at: at, young: true})
	}
	return all
}

// conditionFindings returns that a pod cannot be scheduled, is ready or no longer ready, or is being
// disrupted.
func conditionFindings(pod *corev1.Pod, p past) []finding {
	var all []finding
	for _, c := range pod.Status.Conditions {
		aspect, typ, severity := conditionAspect(pod, c, p)
		value := unix(c.LastTransitionTime)
		if aspect == aspectReady && number(p.value(aspectNotReady)) == c.LastTransitionTime.Unix() {
			value += ".1" // it was ready, not ready and ready within a second
		}
		if typ == "" || !laterEnd(value, p.value(aspect)) {
			continue
		}
		f := finding{aspect: aspect, value: value, at: c.LastTransitionTime.Time, young: aspect == aspectReady}
		f.event = podEvent(pod, nil, typ, severity, f.at, cmp.Or(c.Message, c.Reason, "the pod is ready"))
		if c.Reason != "" {
			f.event.Attributes = append(f.event.Attributes, stringValue("k8s.pod.condition.reason", c.Reason))
		}
		if typ == typePodUnschedulable {
			// It lasts. A pod whose scheduling gates are lifted keeps the time of its condition,
			// which is then that of its creation.
			f.at = time.Time{}
		}
		all = append(all, f)
	}
	return all
}

func conditionAspect(pod *corev1.Pod, c corev1.PodCondition, p past) (aspect, typ string, severity int32) {
	holds := c.Status == corev1.ConditionTrue
	switch {
	case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable:
		return "unschedulable", typePodUnschedulable, severityWarn
	case c.Type == corev1.DisruptionTarget && holds:
		return aspectEvicted, typePodEvicted, evictionSeverity(c.Reason)
	case c.Type == corev1.PodReady && holds:
		return aspectReady, typePodReady, severityInfo
	case c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && wasReady(pod, c.LastTransitionTime, p):
		return aspectNotReady, typePodNotReady, severityWarn
	}
	return "", "", 0
}

// evictionSeverity tells an eviction that somebody asked for, such as a drain, from one that happened to
// the pod.
func evictionSeverity(reason string) int32 {
	if reason == "EvictionByEvictionAPI" || reason == "DeletionByPodGC" {
		return severityInfo
	}
	return severityWarn
}

// wasReady tells whether a pod that is not ready has been. Where nobody saw it, its condition changed after
// a container had started. A pod that ends as it should, or is told to end, is left out.
func wasReady(pod *corev1.Pod, changed metav1.Time, p past) bool {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	if p.value(aspectReady) != "" {
		return true
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		if r := c.State.Running; r != nil && r.StartedAt.Before(&changed) {
			return true
		}
		return slices.ContainsFunc(ends(&c), func(e end) bool { return e.StartedAt.Before(&changed) })
	})
}

// failure is that a pod has failed for good. One that was told to end may end as it likes, and of one that
// was disrupted its eviction tells.
func failure(pod *corev1.Pod, p past) (finding, bool) {
	aspect, typ, severity := aspectFailed, typePodFailed, int32(severityError)
	disrupted := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue
	})
	if pod.Status.Reason == "Evicted" {
		aspect, typ, severity = aspectEvicted, typePodEvicted, severityWarn
	}
	if pod.Status.Phase != corev1.PodFailed || pod.DeletionTimestamp != nil || disrupted || p.value(aspect) != "" {
		return finding{}, false
	}
	at := failedAt(pod, p.record != nil)
	body := cmp.Or(pod.Status.Message, pod.Status.Reason, "the pod has failed and is not started again")
	event := podEvent(pod, nil, typ, severity, at, body, stringValue("k8s.pod.status_reason", pod.Status.Reason))
	return finding{aspect: aspect, value: "1", event: event, at: at}, true
}

// failedAt is when the last container ended. The kubelet rejects pods too, also those that ran before it was
// restarted, and no time in such a status is that of the failure: of a pod that was seen before it failed
// it is now (zero), of another one the last time that the status tells.
func failedAt(pod *corev1.Pod, seen bool) (last time.Time) {
	for _, c := range containerStatuses(pod) {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	if !last.IsZero() || seen {
		return last
	}
	for _, c := range pod.Status.Conditions {
		if t := c.LastTransitionTime.Time; t.After(last) {
			last = t
		}
	}
	if last.IsZero() && pod.Status.StartTime != nil {
		last = pod.Status.StartTime.Time
	}
	if last.IsZero() {
		last = pod.CreationTimestamp.Time
	}
	return last
}

// podEvent is an event about a pod, or one of its containers.
func podEvent(pod *corev1.Pod, c *corev1.ContainerStatus, typ string, severity int32, at time.Time, body string, attributes ...*eventv1.KeyValue) *eventv1.Event {
	e := &eventv1.Event{
		Type: typ, Source: sourceOf(kindPod), TimeUnixNano: nanos(at), SeverityNumber: severity, Body: body, Count: 1,
		Entity: &eventv1.EntityRef{
			Kind: kindPod, Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID), ApiVersion: "v1",
		},
		Attributes: attributes,
	}
	if pod.Spec.NodeName != "" {
		e.Related = append(e.Related, &eventv1.EntityRef{Kind: kindNode, Name: pod.Spec.NodeName, ApiVersion: "v1", Role: roleNode})
	}
	if c != nil {
		e.Resource = append(e.Resource, stringValue("k8s.container.name", c.Name))
	}
	return e
}
