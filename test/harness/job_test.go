package harness_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
)

// testJob also shows that init containers run first and share volumes.
func testJob(t *testing.T, c *cluster) {
	var job batchv1.Job
	decode(t, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      initContainers:
      - {name: first, image: registry.test/app, command: [sh, -c, "echo one > /shared/x"],
         volumeMounts: [{name: shared, mountPath: /shared}]}
      - {name: second, image: registry.test/app, command: [sh, -c, "echo two >> /shared/x"],
         volumeMounts: [{name: shared, mountPath: /shared}]}
      containers:
      - {name: main, image: registry.test/app, command: [sh, -c, "cat /shared/x"],
         volumeMounts: [{name: shared, mountPath: /shared}]}
      volumes: [{name: shared, emptyDir: {}}]
`, &job)
	namespace := harness.NewNamespace(t, c.plane, nil)
	if _, err := c.BatchV1().Jobs(namespace).Create(t.Context(), &job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		got, err := c.BatchV1().Jobs(namespace).Get(t.Context(), "once", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.Succeeded != 1 {
			return fmt.Errorf("job: got %+v", got.Status)
		}
		return nil
	})
	list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("pods of the job: got %d, %v; want 1", len(list.Items), err)
	}
	pod := list.Items[0]
	if pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("phase: got %s", pod.Status.Phase)
	}
	if log, err := c.agent.Log(namespace, pod.Name, "main"); err != nil || log != "one\ntwo\n" {
		t.Errorf("log: got %q, %v", log, err)
	}
	// The same by way of the API server, as kubectl logs does.
	raw, err := c.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "main"}).DoRaw(t.Context())
	if err != nil || string(raw) != "one\ntwo\n" {
		t.Errorf("log by the API server: got %q, %v", raw, err)
	}
}

// testStopNode crashes one of two nodes and brings it back.
func testStopNode(t *testing.T, c *cluster) {
	c.run(t, strings.Replace(appPod("settled", ""), "spec:", "spec:\n  nodeName: node-1", 1))
	pod := c.ready(t, "settled")
	pid, err := c.agent.Pid("default", "settled", "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.agent.StopNode(t.Context(), pod.Spec.NodeName); err != nil {
		t.Fatal(err)
	}
	if newer, err := c.agent.Pid("default", "settled", "app"); err == nil {
		t.Errorf("a process runs on a stopped node: %d, before %d", newer, pid)
	}
	// A new pod goes to the other node.
	c.run(t, appPod("elsewhere", ""))
	if got := c.ready(t, "elsewhere").Spec.NodeName; got != "node-2" {
		t.Errorf("scheduled to %s, want node-2", got)
	}
	if err := c.agent.ResumeNode(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	if got := c.ready(t, "settled").Status.ContainerStatuses[0].RestartCount; got != 1 {
		t.Errorf("restarts after the node came back: got %d, want 1", got)
	}
}
