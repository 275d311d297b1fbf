package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
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
	return all
}

func containerStatuses(pod *corev1.Pod) []*corev1.ContainerStatus {
	var all []*corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// containerFindings returns the ends of a container for lack of memory, its restarts, and
// why it waits.
func containerFindings(pod *corev1.Pod, c *corev1.ContainerStatus, p past) []finding {
	var all []finding
	aspect := "oom_killed/" + c.Name
	last := p.value(aspect)
	for _, end := range ends(c) {
		value := fmt.Sprintf("%d.%d", end.FinishedAt.Unix(), end.run)
		if end.Reason != "OOMKilled" || !laterEnd(value, last) {
			continue
		}
		last = value
		all = append(all, finding{aspect, value, podEvent(pod, c, typePodOOMKilled, severityError, end.FinishedAt.Time,
			fmt.Sprintf("container %s was killed for lack of memory (exit code %d)", c.Name, end.ExitCode),
			intValue("k8s.container.exit_code", int64(end.ExitCode))), end.FinishedAt.Time})
	}
	if f, ok := restarts(pod, c, p); ok {
		all = append(all, f)
	}
	if f, ok := waits(pod, c, p); ok {
		all = append(all, f)
	}
	return all
}

// end is how one run of a container ended.
type end struct {
	*corev1.ContainerStateTerminated
	// run counts the runs of the container from 0.
	run int32
}

// ends are the ends that the status shows, the older first. The restart count is that of the
// newest run: the one that runs or has ended, whose predecessor is the last state; while the
// kubelet waits to run it again, the newest run is the last state itself.
func ends(c *corev1.ContainerStatus) []end {
	var all []end
	if t := c.LastTerminationState.Terminated; t != nil {
		run := c.RestartCount
		if c.State.Waiting == nil {
			run--
		}
		all = append(all, end{t, max(run, 0)})
	}
	if t := c.State.Terminated; t != nil {
		all = append(all, end{t, c.RestartCount})
	}
	return all
}

// laterEnd compares <unix seconds>.<run>: the end of a later second, or of a later run within
// the same second.
func laterEnd(value, last string) bool {
	n, before := number(value), number(last)
	if n != before {
		return n > before
	}
	return run(value) > run(last)
}

func run(value string) int64 {
	for i := range value {
		if value[i] == '.' {
			return number(value[i+1:])
		}
	}
	return -1
}

// restarts is one finding for all restarts since the last published one.
func restarts(pod *corev1.Pod, c *corev1.ContainerStatus, p past) (finding, bool) {
	aspect := "restarted/" + c.Name
	if c.RestartCount == 0 {
		return finding{}, false
	}
	delta := p.counted(aspect, int64(c.RestartCount))
	if delta <= 0 {
		return finding{}, false
	}
	value := strconv.Itoa(int(c.RestartCount))
	why, attributes := lastEnd(c)
	attributes = append(attributes, intValue("k8s.container.restart_count", int64(c.RestartCount)))
	at := restartTime(c)
	event := podEvent(pod, c, typePodRestarted, severityWarn, at,
		fmt.Sprintf("container %s has restarted, %d times by now%s", c.Name, c.RestartCount, why), attributes...)
	event.Count = uint32(delta)
	return finding{aspect, value, event, at}, true
}

// restartTime is when the newest run began, or else when the one before it ended.
func restartTime(c *corev1.ContainerStatus) time.Time {
	switch {
	case c.State.Running != nil:
		return c.State.Running.StartedAt.Time
	case c.State.Terminated != nil:
		return c.State.Terminated.StartedAt.Time
	case c.LastTerminationState.Terminated != nil:
		return c.LastTerminationState.Terminated.StartedAt.Time
	}
	return time.Time{}
}

// lastEnd says how the run before the newest ended.
func lastEnd(c *corev1.ContainerStatus) (why string, attributes []*eventv1.KeyValue) {
	t := c.LastTerminationState.Terminated
	if t == nil {
		return "", nil
	}
	attributes = []*eventv1.KeyValue{
		stringValue("k8s.container.status.last_terminated_reason", t.Reason),
		intValue("k8s.container.exit_code", int64(t.ExitCode)),
	}
	return fmt.Sprintf(", after it ended with %s (exit code %d)", cmp.Or(t.Reason, "no reason"), t.ExitCode), attributes
}

// waits is why a container waits: once for each run that the kubelet holds back.
func waits(pod *corev1.Pod, c *corev1.ContainerStatus, p past) (finding, bool) {
	if c.State.Waiting == nil {
		return finding{}, false
	}
	var aspect, typ string
	switch c.State.Waiting.Reason {
	case "CrashLoopBackOff":
		aspect, typ = "crash_loop_back_off/"+c.Name, typePodCrashLoop
	case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull":
		aspect, typ = "image_pull_back_off/"+c.Name, typePodImagePull
	default:
		return finding{}, false
	}
	if int64(c.RestartCount) <= number(p.value(aspect)) {
		return finding{}, false
	}
	_, attributes := lastEnd(c)
	attributes = append(attributes,
		intValue("k8s.container.restart_count", int64(c.RestartCount)),
		stringValue("k8s.container.status.reason", c.State.Waiting.Reason),
		stringValue("container.image.name", c.Image))
	var at time.Time
	if t := c.LastTerminationState.Terminated; t != nil {
		at = t.FinishedAt.Time
	}
	body := fmt.Sprintf("container %s waits: %s", c.Name, cmp.Or(c.State.Waiting.Message, c.State.Waiting.Reason))
	event := podEvent(pod, c, typ, severityError, at, body, attributes...)
	// It lasts, whenever it began: that it is old is no reason to keep quiet about it.
	return finding{aspect, strconv.Itoa(int(c.RestartCount)), event, time.Time{}}, true
}

// conditionFindings returns that a pod cannot be scheduled, is no longer ready, or is being
// disrupted.
func conditionFindings(pod *corev1.Pod, p past) []finding {
	var all []finding
	for _, c := range pod.Status.Conditions {
		aspect, typ := conditionAspect(pod, c)
		value := unix(c.LastTransitionTime)
		if typ == "" || number(value) <= number(p.value(aspect)) {
			continue
		}
		at := c.LastTransitionTime.Time
		event := podEvent(pod, nil, typ, severityWarn, at, cmp.Or(c.Message, c.Reason),
			stringValue("k8s.pod.condition.reason", c.Reason))
		if typ == typePodUnschedulable {
			// It lasts. A pod whose scheduling gates are lifted keeps the time of its condition,
			// which is then that of its creation.
			at = time.Time{}
		}
		all = append(all, finding{aspect, value, event, at})
	}
	return all
}

func conditionAspect(pod *corev1.Pod, c corev1.PodCondition) (aspect, typ string) {
	switch {
	case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable:
		return "unschedulable", typePodUnschedulable
	case c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue:
		return "evicted", typePodEvicted
	case c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && wasReady(pod, c.LastTransitionTime):
		return "not_ready", typePodNotReady
	}
	return "", ""
}

// wasReady tells whether a pod that is not ready has been: then its condition changed after a
// container had started. A pod that ends as it should, or is told to end, is left out.
func wasReady(pod *corev1.Pod, changed metav1.Time) bool {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		if r := c.State.Running; r != nil && r.StartedAt.Before(&changed) {
			return true
		}
		return slices.ContainsFunc(ends(&c), func(e end) bool { return e.StartedAt.Before(&changed) })
	})
}

// failure is that a pod has failed for good. One that was told to end may end as it likes.
func failure(pod *corev1.Pod, p past) (finding, bool) {
	aspect, typ, severity := "failed", typePodFailed, int32(severityError)
	if pod.Status.Reason == "Evicted" {
		aspect, typ, severity = "evicted", typePodEvicted, severityWarn
	}
	if pod.Status.Phase != corev1.PodFailed || pod.DeletionTimestamp != nil || p.value(aspect) != "" {
		return finding{}, false
	}
	at := failedAt(pod, p.record != nil)
	body := cmp.Or(pod.Status.Message, pod.Status.Reason, "the pod has failed and is not started again")
	return finding{aspect, "1", podEvent(pod, nil, typ, severity, at, body,
		stringValue("k8s.pod.status_reason", pod.Status.Reason)), at}, true
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
		Type: typ, Source: "pods", TimeUnixNano: nanos(at), SeverityNumber: severity, Body: body, Count: 1,
		Entity: &eventv1.EntityRef{
			Kind: kindPod, Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID), ApiVersion: "v1",
		},
		Related:    controllerRef(&pod.ObjectMeta),
		Attributes: attributes,
	}
	if pod.Spec.NodeName != "" {
		e.Related = append(e.Related, &eventv1.EntityRef{Kind: kindNode, Name: pod.Spec.NodeName, ApiVersion: "v1", Role: "node"})
	}
	if c != nil {
		e.Resource = append(e.Resource, stringValue("k8s.container.name", c.Name))
	}
	return e
}
