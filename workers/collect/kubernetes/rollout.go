package kubernetes

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// aspectBroken is the aspect that says that a workload was not whole: its value is the one that
// rollout_complete has once it is. It is published nowhere.
const aspectBroken = "broken"

// workloadFindings returns the news of a workload.
func (o *observer) workloadFindings(w *workload, p past) []finding {
	return append(o.templates.specFindings(w, p), statusFindings(w, p)...)
}

// statusFindings returns what the status of a workload tells: its conditions, and that it is whole.
func statusFindings(w *workload, p past) []finding {
	var all []finding
	for _, c := range w.conditions {
		if f, ok := workloadCondition(w, c, p); ok {
			all = append(all, f)
		}
	}
	if f, ok := rollout(w, p); ok {
		all = append(all, f)
	}
	return all
}

// workloadCondition is a condition that began.
func workloadCondition(w *workload, c condition, p past) (finding, bool) {
	what, severity := conditionOf(w.kind, c)
	value := unix(c.changed)
	if what == "" || number(value) <= number(p.value(what)) {
		return finding{}, false
	}
	var attributes []*eventv1.KeyValue
	if c.reason != "" {
		attributes = append(attributes, stringValue(w.attribute("condition.reason"), c.reason))
	}
	if what == whatFailed {
		attributes = []*eventv1.KeyValue{stringValue("k8s.job.failed.reason", c.reason)}
	}
	event := w.event(what, severity, cmp.Or(c.message, c.reason, what), attributes...)
	event.TimeUnixNano = nanos(c.changed.Time)
	f := finding{aspect: what, value: value, event: event}
	if w.kind == kindJob { // the conditions of others last until they are mended
		f.at = c.changed.Time
	}
	return f, true
}

func conditionOf(kind string, c condition) (what string, severity int32) {
	holds := c.status == string(corev1.ConditionTrue)
	switch {
	case kind == kindJob && holds && c.kind == string(batchv1.JobFailed):
		return whatFailed, severityError
	case kind == kindJob && holds && c.kind == string(batchv1.JobComplete):
		return whatComplete, severityInfo
	case kind == kindJob && holds && c.kind == string(batchv1.JobSuspended):
		return whatSuspended, severityInfo
	case kind == kindJob:
		return "", 0
	case !holds && c.kind == string(appsv1.DeploymentProgressing) && c.reason == "ProgressDeadlineExceeded":
		return whatDeadline, severityError
	case holds && c.kind == string(appsv1.DeploymentReplicaFailure):
		return whatReplicaFailure, severityError
	}
	return "", 0
}

// rollout is that a workload is whole at a generation that was not published as whole, or again. The
// value is <generation>.<n>; n counts.
func rollout(w *workload, p past) (finding, bool) {
	if !w.rolls {
		return finding{}, false
	}
	last, broken := p.value(whatRolloutComplete), p.value(aspectBroken)
	generation := w.object.GetGeneration()
	value := fmt.Sprintf("%d.%d", generation, max(run(last), 0)+1)
	if !w.whole {
		// Once a workload is broken it stays so until it is whole.
		return finding{aspect: aspectBroken, value: value}, run(broken) <= run(last)
	}
	f := finding{aspect: whatRolloutComplete, value: value}
	switch {
	case run(broken) > run(last):
	case last == "" && (p.old || legacy(p)): // it was whole before anybody looked
		return f, true
	case number(last) >= generation:
		return finding{}, false
	}
	body := "complete: the newest specification is in force"
	if w.replicas != nil {
		body = fmt.Sprintf("complete: all %d replicas are updated, ready and available", *w.replicas)
	}
	f.event = w.event(whatRolloutComplete, severityInfo, body, intValue(w.attribute("generation"), generation))
	return f, true
}

// legacy tells whether an earlier release, which did not look at the status, published what is known.
func legacy(p past) bool {
	state, known := parseState(p.value(aspectSpec))
	return p.record != nil && (!known || state.rest == "")
}
