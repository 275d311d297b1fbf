package kubernetes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stripPod removes from a pod what the store does not keep, so that a list in flight stays
// small.
func stripPod(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	stripMeta(&pod.ObjectMeta)
	pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork}
	pod.Status = corev1.PodStatus{
		Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, PodIPs: pod.Status.PodIPs, StartTime: pod.Status.StartTime,
		ContainerStatuses: ends(pod),
	}
}

// ends are the times at which the containers of a finished pod ended.
func ends(pod *corev1.Pod) []corev1.ContainerStatus {
	at := finishedAt(pod)
	if at == 0 || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		return nil
	}
	last := &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(time.Unix(0, at))}
	return []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: last}}}
}

func stripService(o any) {
	service, ok := o.(*corev1.Service)
	if !ok {
		return
	}
	stripMeta(&service.ObjectMeta)
	service.Spec = corev1.ServiceSpec{Selector: service.Spec.Selector}
	service.Status = corev1.ServiceStatus{}
}

func stripMetadata(o any) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		stripMeta(&m.ObjectMeta)
	}
}

// stripMeta keeps names, owners, labels and the annotations that the store reads.
func stripMeta(o *metav1.ObjectMeta) {
	o.ManagedFields, o.Finalizers = nil, nil
	var kept map[string]string
	for _, key := range []string{annotationServiceName, annotationCriticality, annotationMirror, annotationHash} {
		if value, ok := o.Annotations[key]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	o.Annotations = kept
}
