package kubernetes

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

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
		event := podEvent(pod, c, typePodOOMKilled, severityError, end.FinishedAt.Time,
			fmt.Sprintf("container %s was killed for lack of memory (exit code %d)", c.Name, end.ExitCode),
			intValue("k8s.container.exit_code", int64(end.ExitCode)))
		all = append(all, finding{aspect: aspect, value: value, event: event, at: end.FinishedAt.Time})
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
	if c.RestartCount == 0 && p.value(aspect) == "" {
		return finding{}, false
	}
	at := restartTime(c)
	value, delta := p.count(aspect, int64(c.RestartCount), at)
	if delta <= 0 { // a count that is 0 again is not published, but remembered
		return finding{aspect: aspect, value: value}, value != p.value(aspect)
	}
	why, attributes := lastEnd(c)
	attributes = append(attributes, intValue("k8s.container.restart_count", int64(c.RestartCount)))
	event := podEvent(pod, c, typePodRestarted, severityWarn, at,
		fmt.Sprintf("container %s has restarted, %d times by now%s", c.Name, c.RestartCount, why), attributes...)
	event.Count = uint32(delta)
	return finding{aspect: aspect, value: value, event: event, at: at}, true
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
	// Each run waits once, the first one without a restart, too.
	value, delta := p.count(aspect, int64(c.RestartCount), restartTime(c))
	if delta == 0 && value == p.value(aspect) {
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
	event := podEvent(pod, c, typ, severityError, at, waitsFor(c, typ), attributes...)
	// It lasts, whenever it began: that it is old is no reason to keep quiet about it.
	return finding{aspect: aspect, value: value, event: event}, true
}

// waitsFor says why a container waits. What the registry answers follows the image.
func waitsFor(c *corev1.ContainerStatus, typ string) string {
	reason := cmp.Or(c.State.Waiting.Message, c.State.Waiting.Reason)
	if typ == typePodImagePull && c.Image != "" {
		if strings.Contains(reason, c.Image) {
			return fmt.Sprintf("container %s waits for its image: %s", c.Name, reason)
		}
		return fmt.Sprintf("container %s waits for its image %s: %s", c.Name, c.Image, reason)
	}
	return fmt.Sprintf("container %s waits: %s", c.Name, reason)
}
