package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stripMetadata removes what nobody looks at in any object.
func stripMetadata(o any) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
		m.SetAnnotations(nil)
		m.SetLabels(nil)
	}
}

func stripPod(o any) {
	stripMetadata(o)
	if pod, ok := o.(*corev1.Pod); ok {
		pod.Spec = corev1.PodSpec{
			NodeName: pod.Spec.NodeName, InitContainers: probed(pod.Spec.InitContainers), Containers: probed(pod.Spec.Containers),
		}
		for _, c := range containerStatuses(pod) {
			c.Name = text(c.Name, maxName) // it is in ids, which are read back
		}
	}
}

// probed are the containers that have a startup or readiness probe, with the times of these and no more.
func probed(containers []corev1.Container) []corev1.Container {
	var all []corev1.Container
	for _, c := range containers {
		if c.StartupProbe != nil || c.ReadinessProbe != nil {
			all = append(all, corev1.Container{
				Name: text(c.Name, maxName), StartupProbe: times(c.StartupProbe), ReadinessProbe: times(c.ReadinessProbe),
			})
		}
	}
	return all
}

func times(p *corev1.Probe) *corev1.Probe {
	if p == nil {
		return nil
	}
	return &corev1.Probe{
		InitialDelaySeconds: p.InitialDelaySeconds, TimeoutSeconds: p.TimeoutSeconds, PeriodSeconds: p.PeriodSeconds,
		FailureThreshold: p.FailureThreshold, SuccessThreshold: p.SuccessThreshold,
	}
}

func stripNode(o any) {
	stripMetadata(o)
	if node, ok := o.(*corev1.Node); ok {
		node.Spec = corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable}
		node.Status = corev1.NodeStatus{Conditions: node.Status.Conditions}
	}
}
