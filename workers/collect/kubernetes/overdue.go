package kubernetes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const aspectOverdue = "start_overdue"

// defaultDeadline is the progress deadline of a Deployment that names none. Other pods have it, too.
const defaultDeadline = 10 * time.Minute

// beginning is a pod that runs and was never ready.
type beginning struct {
	pod *corev1.Pod
	// began is when the pod was taken by its node, and running when its newest container began to run.
	began, running time.Time
	// probes is how long the probes may fail, and what says why.
	probes time.Duration
	what   string
}

// follow remembers a pod that starts, and forgets one that has started.
func (o *observer) follow(pod *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	uid := string(pod.UID)
	if s := startOf(pod, o.ledger.get(uid)); s != nil {
		o.starting[uid] = s
	} else {
		delete(o.starting, uid)
	}
}

// startOf is nil for a pod that does not run, has been ready, or is known to be overdue.
func startOf(pod *corev1.Pod, r *record) *beginning {
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || pod.Status.StartTime == nil {
		return nil
	}
	for _, aspect := range []string{aspectReady, aspectNotReady, aspectOverdue} {
		if r.value(aspect) != "" {
			return nil
		}
	}
	s := &beginning{pod: pod, began: pod.Status.StartTime.Time}
	s.running = s.began
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil && c.State.Running.StartedAt.After(s.running) {
			s.running = c.State.Running.StartedAt.Time
		}
	}
	s.probes, s.what = budget(pod)
	return s
}

// budget is how long the probes of a pod may fail until the kubelet gives up: those of the slowest
// container, behind those of the sidecars, which start one after another.
func budget(pod *corev1.Pod) (total time.Duration, what string) {
	var slowest time.Duration
	var before, last []string
	for _, c := range pod.Spec.InitContainers {
		if c.StartupProbe != nil { // only sidecars have one
			total += patience(c.StartupProbe)
			before = append(before, describeProbe("startup", c.Name, c.StartupProbe))
		}
	}
	for _, c := range pod.Spec.Containers {
		var names []string
		var sum time.Duration
		for kind, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe} {
			if p != nil {
				sum += patience(p)
				names = append(names, describeProbe(kind, c.Name, p))
			}
		}
		if sum > slowest || last == nil {
			slices.Sort(names)
			slices.Reverse(names) // the startup probe comes first
			slowest, last = sum, names
		}
	}
	return total + slowest, strings.Join(append(before, last...), ", ")
}

// patience is how long a probe may fail.
func patience(p *corev1.Probe) time.Duration {
	period, failures := int64(cmp.Or(p.PeriodSeconds, 10)), int64(cmp.Or(p.FailureThreshold, 3))
	return time.Duration(int64(p.InitialDelaySeconds)+failures*period+int64(cmp.Or(p.TimeoutSeconds, 1))) * time.Second
}

func describeProbe(kind, container string, p *corev1.Probe) string {
	text := fmt.Sprintf("%s probe of container %s may fail %d times, every %d s", kind, container,
		cmp.Or(p.FailureThreshold, 3), cmp.Or(p.PeriodSeconds, 10))
	if p.InitialDelaySeconds > 0 {
		text += fmt.Sprintf(" after %d s", p.InitialDelaySeconds)
	}
	return text
}

// overdue publishes the pods whose time to start is used up.
func (o *observer) overdue() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for _, uid := range slices.Sorted(maps.Keys(o.starting)) {
		s := o.starting[uid]
		deadline, whose := o.deadlineOf(o.ledger.get(uid))
		due := s.began.Add(deadline)
		if probed := s.running.Add(s.probes); probed.After(due) {
			due = probed
		}
		if now.Before(due) {
			continue
		}
		delete(o.starting, uid)
		o.publish(kindPod, uid, []finding{s.finding(max(deadline, s.probes), whose, due)}, o.sinceOf(kindPod))
	}
}

// deadlineOf is how long a pod may take whatever its probes say.
func (o *observer) deadlineOf(r *record) (deadline time.Duration, whose string) {
	if r != nil {
		if _, kind, name, uid := r.Workload.parts(); kind == kindDeployment {
			if seconds, ok := o.deadlines[uid]; ok {
				return time.Duration(seconds) * time.Second, fmt.Sprintf("Deployment %s allows %d s", name, seconds)
			}
		}
	}
	return defaultDeadline, fmt.Sprintf("a pod has at least %s", defaultDeadline)
}

func (s *beginning) finding(budget time.Duration, whose string, due time.Time) finding {
	body := fmt.Sprintf("the pod runs and was never ready; its budget of %s is used up: %s", budget, whose)
	if s.what != "" {
		body = fmt.Sprintf("the pod runs and was never ready; its budget of %s is used up: %s, and the %s", budget, whose, s.what)
	}
	event := podEvent(s.pod, nil, typePodStartOverdue, severityWarn, due, body,
		intValue("millrace.start.budget_seconds", int64(budget/time.Second)))
	// It lasts, whenever it began.
	return finding{aspect: aspectOverdue, value: fmt.Sprint(s.began.Unix()), event: event}
}
