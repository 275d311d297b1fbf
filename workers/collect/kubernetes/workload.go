package kubernetes

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	eventv1 "millrace.dev/millrace/api/event/v1"
)

// workload is what the collector looks at in a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or
// CronJob.
type workload struct {
	kind   string
	object metav1.Object
	// replicas are those that the specification wants; nil = the kind has none.
	replicas *int64
	template *corev1.PodTemplateSpec
	// fixed says that the template does not change once it is there.
	fixed bool
	// rest is the specification without replicas, selector and template.
	rest       any
	conditions []condition
	// whole says that the newest specification is in force: all replicas are updated, ready and available.
	whole bool
	// rolls says that the kind tells when it is whole.
	rolls bool
}

// condition is one of any kind of workload.
type condition struct {
	kind, status, reason, message string
	changed                       metav1.Time
}

func isWorkload(kind string) bool {
	return slices.Contains([]string{kindDeployment, kindStatefulSet, kindDaemonSet, kindReplicaSet, kindJob, kindCronJob}, kind)
}

// sourceOf is the resource of a kind, from which its events come.
func sourceOf(kind string) string { return strings.ToLower(kind) + "s" }

func apiVersionOf(kind string) string {
	switch {
	case kind == kindJob || kind == kindCronJob:
		return "batch/v1"
	case isWorkload(kind):
		return "apps/v1"
	}
	return "v1"
}

func (w *workload) entity() *eventv1.EntityRef {
	return &eventv1.EntityRef{
		Kind: w.kind, Namespace: w.object.GetNamespace(), Name: w.object.GetName(), Uid: string(w.object.GetUID()),
		ApiVersion: apiVersionOf(w.kind),
	}
}

// attribute names an attribute of the kind: k8s.deployment.replicas.
func (w *workload) attribute(name string) string { return typeOf(w.kind, name) }

func wanted(replicas *int32) *int64 {
	n := int64(1)
	if replicas != nil {
		n = int64(*replicas)
	}
	return &n
}

func deploymentOf(d *appsv1.Deployment) *workload {
	rest, s := d.Spec, d.Status
	rest.Replicas, rest.Selector, rest.Template = nil, nil, corev1.PodTemplateSpec{}
	want := wanted(d.Spec.Replicas)
	w := &workload{
		kind: kindDeployment, object: d, replicas: want, template: &d.Spec.Template, rest: &rest, rolls: true,
		whole: s.ObservedGeneration >= d.Generation && all(*want, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas),
	}
	for _, c := range s.Conditions {
		w.conditions = append(w.conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime})
	}
	return w
}

func statefulSetOf(d *appsv1.StatefulSet) *workload {
	rest, s := d.Spec, d.Status
	rest.Replicas, rest.Selector, rest.Template = nil, nil, corev1.PodTemplateSpec{}
	want := wanted(d.Spec.Replicas)
	// Pods below the partition, or all with OnDelete, stay as they are.
	updated := *want
	if r := d.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		updated = max(*want-int64(*r.Partition), 0)
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		updated = 0
	}
	return &workload{
		kind: kindStatefulSet, object: d, replicas: want, template: &d.Spec.Template, rest: &rest, rolls: true,
		whole: s.ObservedGeneration >= d.Generation && int64(s.UpdatedReplicas) >= updated &&
			all(*want, s.Replicas, s.ReadyReplicas, s.AvailableReplicas),
	}
}

func daemonSetOf(d *appsv1.DaemonSet) *workload {
	rest, s := d.Spec, d.Status
	rest.Selector, rest.Template = nil, corev1.PodTemplateSpec{}
	want := int64(s.DesiredNumberScheduled)
	return &workload{
		kind: kindDaemonSet, object: d, template: &d.Spec.Template, rest: &rest, rolls: true,
		whole: s.ObservedGeneration >= d.Generation && all(want, s.CurrentNumberScheduled, s.NumberReady, s.NumberAvailable) &&
			(d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType || all(want, s.UpdatedNumberScheduled)),
	}
}

func replicaSetOf(d *appsv1.ReplicaSet) *workload {
	rest, s := d.Spec, d.Status
	rest.Replicas, rest.Selector, rest.Template = nil, nil, corev1.PodTemplateSpec{}
	want := wanted(d.Spec.Replicas)
	w := &workload{
		kind: kindReplicaSet, object: d, replicas: want, template: &d.Spec.Template, rest: &rest, rolls: true,
		whole: s.ObservedGeneration >= d.Generation && all(*want, s.Replicas, s.ReadyReplicas, s.AvailableReplicas),
	}
	for _, c := range s.Conditions {
		w.conditions = append(w.conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime})
	}
	return w
}

func jobOf(d *batchv1.Job) *workload {
	rest := d.Spec
	rest.Selector, rest.Template = nil, corev1.PodTemplateSpec{}
	w := &workload{kind: kindJob, object: d, template: &d.Spec.Template, fixed: true, rest: &rest}
	for _, c := range d.Status.Conditions {
		w.conditions = append(w.conditions, condition{string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime})
	}
	return w
}

func cronJobOf(d *batchv1.CronJob) *workload {
	rest := d.Spec
	job := d.Spec.JobTemplate.Spec
	job.Selector, job.Template = nil, corev1.PodTemplateSpec{}
	rest.JobTemplate = batchv1.JobTemplateSpec{Spec: job}
	return &workload{kind: kindCronJob, object: d, template: &d.Spec.JobTemplate.Spec.Template, rest: &rest}
}

// all tells whether all counts are as wanted.
func all(want int64, counts ...int32) bool {
	return !slices.ContainsFunc(counts, func(n int32) bool { return int64(n) != want })
}
