package harness_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"millrace.dev/millrace/test/harness"
)

// testSidecar: the sidecar is up before the main container and is told to
// stop after it.
func testSidecar(t *testing.T, c *cluster) {
	c.run(t, `
apiVersion: v1
kind: Pod
metadata: {name: escorted}
spec:
  restartPolicy: Never
  initContainers:
  - name: side
    image: registry.test/app
    restartPolicy: Always
    command: [sh, -c, "trap 'echo bye; exit 0' TERM; touch /shared/up; while :; do sleep 0.05; done"]
    startupProbe: {exec: {command: [test, -e, /shared/up]}, periodSeconds: 1}
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: main
    image: registry.test/app
    command: [ls, /shared/up]
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
`)
	c.eventually(t, "escorted", func(pod *corev1.Pod) error {
		if pod.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("phase: got %s, %+v", pod.Status.Phase, pod.Status.InitContainerStatuses)
		}
		return nil
	})
	if log, err := c.agent.Log("default", "escorted", "side"); err != nil || !strings.HasSuffix(log, "bye\n") {
		t.Errorf("log of the sidecar: got %q, %v", log, err)
	}
}

func testForceDelete(t *testing.T, c *cluster) {
	c.run(t, appPod("forced", `
    args: ["--stubborn"]
`))
	c.ready(t, "forced")
	pid, err := c.agent.Pid("default", "forced", "app")
	if err != nil {
		t.Fatal(err)
	}
	c.remove(t, "forced", 0)
	harness.Eventually(t, 5*time.Second, func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !os.IsNotExist(err) {
			return errors.New("the process lives on")
		}
		return nil
	})
}

// testPodSecurity: the admission plugin and the tokens of service accounts
// are real.
func testPodSecurity(t *testing.T, c *cluster) {
	namespace := harness.NewNamespace(t, c.plane, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	var pod corev1.Pod
	decode(t, appPod("careless", ""), &pod)
	_, err := c.CoreV1().Pods(namespace).Create(t.Context(), &pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("a pod without a security context: got %v, want forbidden", err)
	}

	config, err := c.plane.ServiceAccountConfig(t.Context(), namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	if want := "system:serviceaccount:" + namespace + ":default"; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("list as a service account: got %v, want forbidden to %s", err, want)
	}
}

// TestOutageOfTheAPIServer: pods live on, and what happened meanwhile is
// reported afterwards. A node is stopped before, not after: for some seconds
// after an outage the scheduler watches pods again and not yet nodes, and
// binds a pod to a node that is down.
func TestOutageOfTheAPIServer(t *testing.T) {
	c := newCluster(t)
	testStopNode(t, c)
	c.run(t, appPod("patient", ""))
	c.ready(t, "patient")
	if err := c.plane.KillComponent("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	pid, err := c.agent.Pid("default", "patient", "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		again, err := c.agent.Pid("default", "patient", "app")
		if err == nil && again == pid {
			return errors.New("the old process is still there")
		}
		return err
	})
	if err := c.plane.RestartComponent(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "patient", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses[0]; s.RestartCount != 1 || !s.Ready {
			return fmt.Errorf("after the outage: got %+v", s)
		}
		return nil
	})
}

// remove deletes a pod and waits until it is gone from the API.
func (c *cluster) remove(t *testing.T, name string, graceSeconds int64) {
	t.Helper()
	err := c.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &graceSeconds})
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error {
		_, err := c.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return errors.New("pod " + name + " is still there")
		}
		return nil
	})
}
