package kubernetes

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func podsOf(name string) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
	labels := map[string]string{"app": name}
	return &metav1.LabelSelector{MatchLabels: labels}, corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.test/app:1"}}},
	}
}

// What a real API server delivers of ReplicaSets is enough to know whose a pod is, and a ReplicaSet that
// nobody controls is a workload like others.
func testChainOfOwners(t *testing.T, w *world) {
	sets, one := w.AppsV1().ReplicaSets(w.namespace), int32(1)
	create := func(name string, controller []metav1.OwnerReference) *appsv1.ReplicaSet {
		t.Helper()
		selector, template := podsOf(name)
		rs, err := sets.Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: controller},
			Spec:       appsv1.ReplicaSetSpec{Replicas: &one, Selector: selector, Template: template},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	d, yes := w.createDeployment(t), true
	owned := create("web-abc", []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &yes}})
	w.createPod(t, "web-abc-1")
	w.controller(t, "web-abc-1", owned)
	w.status(t, "web-abc-1", func(s *corev1.PodStatus) { s.Phase = corev1.PodSucceeded })
	w.collect(t)
	want := []string{"k8s.deployment.created Deployment/web x1", "k8s.pod.succeeded Pod/web-abc-1 x1"}
	w.eventually(t, want...)
	for _, e := range w.published(t) {
		if e.Type == typePodSucceeded && !slices.Contains(roles(e), "workload Deployment "+w.namespace+"/web apps/v1") {
			t.Errorf("related: got %v, want workload Deployment web", roles(e))
		}
	}
	create("blue", nil)
	want = append(want, "k8s.replicaset.created ReplicaSet/blue x1")
	w.eventually(t, want...)
	if _, err := sets.Patch(t.Context(), "blue", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	want = append(want, "k8s.replicaset.scaled ReplicaSet/blue x1")
	w.eventually(t, want...)
	for _, name := range []string{"blue", "web-abc"} { // the other one is no workload
		if err := sets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually(t, append(want, "k8s.replicaset.deleted ReplicaSet/blue x1")...)
}

// controller makes a ReplicaSet the controller of a pod.
func (w *world) controller(t *testing.T, pod string, rs *appsv1.ReplicaSet) {
	t.Helper()
	p, err := w.CoreV1().Pods(w.namespace).Get(t.Context(), pod, metav1.GetOptions{})
	if err == nil {
		p.OwnerReferences[0].Name, p.OwnerReferences[0].UID = rs.Name, rs.UID
		_, err = w.CoreV1().Pods(w.namespace).Update(t.Context(), p, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A Job that fails tells why, and a StatefulSet that rolls out tells when it is done.
func testWorkloads(t *testing.T, w *world) {
	w.collect(t)
	_, template := podsOf("backup")
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	job, err := w.BatchV1().Jobs(w.namespace).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "backup"}, Spec: batchv1.JobSpec{Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := seconds(0)
	job.Status.StartTime = &now
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", LastTransitionTime: now, LastProbeTime: now,
		})
	}
	if _, err := w.BatchV1().Jobs(w.namespace).UpdateStatus(t.Context(), job, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"k8s.job.created Job/backup x1", "k8s.job.failed Job/backup x1"}
	w.eventually(t, want...)
	selector, template := podsOf("db")
	set, err := w.AppsV1().StatefulSets(w.namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "db"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	if _, err := w.AppsV1().StatefulSets(w.namespace).UpdateStatus(t.Context(), set, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, append(want, "k8s.statefulset.created StatefulSet/db x1", "k8s.statefulset.rollout_complete StatefulSet/db x1")...)
}
