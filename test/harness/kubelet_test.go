package harness_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"millrace.dev/millrace/test/harness"
)

// testExecProbes: the text of a failed command is its output alone, and a command that hangs says how long
// it had.
func testExecProbes(t *testing.T, c *cluster) {
	c.run(t, appPod("slow", `
    startupProbe: {exec: {command: [sh, -c, "echo no answer yet; exit 1"]}, periodSeconds: 1, failureThreshold: 60}
`))
	c.run(t, appPod("hanging", `
    livenessProbe: {exec: {command: [sleep, "60"]}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 60}
`))
	c.wholeEvent(t, "slow", "Unhealthy", "Startup probe failed: no answer yet\n")
	c.wholeEvent(t, "hanging", "Unhealthy", `Liveness probe failed: command timed out: "sleep 60" timed out after 1s`)
	c.eventually(t, "slow", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses[0]; s.Ready || s.Started == nil || *s.Started || s.RestartCount != 0 {
			return fmt.Errorf("within its startup budget: got %+v", s)
		}
		return nil
	})
}

// wholeEvent waits for an event about a pod with exactly this message.
func (c *cluster) wholeEvent(t *testing.T, pod, reason, message string) {
	t.Helper()
	var got []string
	harness.Eventually(t, 15*time.Second, func() error {
		list, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
		})
		if err != nil {
			return err
		}
		got = nil
		for _, e := range list.Items {
			if e.Message == message {
				return nil
			}
			got = append(got, e.Message)
		}
		return fmt.Errorf("no event %s of %s that says %q, but %q", reason, pod, message, got)
	})
}

// testDaemonSet: one pod on each node, also on a cordoned one.
func testDaemonSet(t *testing.T, c *cluster) {
	var d appsv1.DaemonSet
	decode(t, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers: [{name: app, image: registry.test/app, command: [sleep, "600"]}]
`, &d)
	namespace := harness.NewNamespace(t, c.plane, nil)
	if _, err := c.AppsV1().DaemonSets(namespace).Create(t.Context(), &d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		got, err := c.AppsV1().DaemonSets(namespace).Get(t.Context(), "agent", metav1.GetOptions{})
		if err == nil && got.Status.NumberAvailable != 2 {
			err = fmt.Errorf("available: got %d, want 2", got.Status.NumberAvailable)
		}
		return err
	})
}

// testDrain cordons the node of a pod and evicts the pod by the API, which a PodDisruptionBudget forbids at first.
func testDrain(t *testing.T, c *cluster) {
	pod := c.run(t, `
apiVersion: v1
kind: Pod
metadata: {name: evicted, labels: {app: evicted}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 3
  containers: [{name: app, image: registry.test/app, command: [sh, -c, "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done"]}]
`)
	c.ready(t, pod.Name)
	var budget policyv1.PodDisruptionBudget
	decode(t, `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: evicted}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: evicted}}}
`, &budget)
	if _, err := c.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), &budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.cordon(t, "node-2", true)
	defer c.cordon(t, "node-2", false)
	c.event(t, "node-2", "NodeNotSchedulable", "Node node-2 status is now: NodeNotSchedulable")

	evict := func() error {
		return c.PolicyV1().Evictions("default").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: "default"}})
	}
	harness.Eventually(t, 15*time.Second, func() error {
		if err := evict(); !apierrors.IsTooManyRequests(err) {
			return fmt.Errorf("evict a pod that its budget keeps: got %w, want too many requests", err)
		}
		return nil
	})
	if err := c.PolicyV1().PodDisruptionBudgets("default").Delete(t.Context(), "evicted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 15*time.Second, evict)
	harness.Eventually(t, 15*time.Second, func() error {
		got, err := c.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range got.Status.Conditions {
			if condition.Type == corev1.DisruptionTarget && condition.Reason == "EvictionByEvictionAPI" && got.DeletionTimestamp != nil {
				return nil
			}
		}
		return fmt.Errorf("an evicted pod on its way out: got %+v", got.Status.Conditions)
	})
	c.event(t, pod.Name, "Killing", "Stopping container app")
	harness.Eventually(t, 15*time.Second, func() error {
		_, err := c.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return errors.New("the evicted pod is still there")
		}
		return nil
	})
}

func (c *cluster) cordon(t *testing.T, node string, unschedulable bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, unschedulable)
	if _, err := c.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testMissingVolume: a pod waits for its Secret in ContainerCreating.
func testMissingVolume(t *testing.T, c *cluster) {
	c.run(t, appPod("waiting", `
    volumeMounts: [{name: keys, mountPath: /etc/keys}]
  volumes: [{name: keys, secret: {secretName: keys}}]
`))
	c.wholeEvent(t, "waiting", "FailedMount", `MountVolume.SetUp failed for volume "keys" : secret "keys" not found`)
	c.eventually(t, "waiting", func(pod *corev1.Pod) error {
		w := pod.Status.ContainerStatuses[0].State.Waiting
		if pod.Status.Phase != corev1.PodPending || w == nil || w.Reason != "ContainerCreating" {
			return fmt.Errorf("got %s, %+v", pod.Status.Phase, w)
		}
		return nil
	})
	c.remove(t, "waiting", 30) // at once: nothing runs
}
