package harness_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/node"
)

const image = "registry.test/app"

// cluster is a control plane with two nodes that know one image.
type cluster struct {
	kubernetes.Interface
	plane *kube.ControlPlane
	agent *node.Agent
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	plane := harness.StartControlPlane(t, kube.Options{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := harness.StartNode(t, plane, node.Options{
		Nodes: 2, BackOff: 300 * time.Millisecond,
		Images: map[string][]string{image: {self, "testapp"}},
	})
	return &cluster{plane.Client(), plane, agent}
}

func TestNode(t *testing.T) {
	c := newCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"deployment":     testDeployment,
		"configuration":  testConfiguration,
		"service token":  testServiceToken,
		"probes":         testProbes,
		"grace period":   testGracePeriod,
		"crash loop":     testCrashLoop,
		"unknown image":  testUnknownImage,
		"job":            testJob,
		"late ConfigMap": testLateConfigMap,
		"sidecar":        testSidecar,
		"force delete":   testForceDelete,
		"pod security":   testPodSecurity,
		"exec probes":    testExecProbes,
		"daemon set":     testDaemonSet,
		"drain":          testDrain,
		"missing volume": testMissingVolume,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func testDeployment(t *testing.T, c *cluster) {
	var d appsv1.Deployment
	decode(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: mill, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: mill}}
  template:
    metadata: {labels: {app: mill}}
    spec:
      containers:
      - name: app
        image: registry.test/app:v1
        env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
`, &d)
	if _, err := c.AppsV1().Deployments("default").Create(t.Context(), &d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		got, err := c.AppsV1().Deployments("default").Get(t.Context(), "mill", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.AvailableReplicas != 3 {
			return fmt.Errorf("available: got %d, want 3", got.Status.AvailableReplicas)
		}
		return nil
	})
	pods := c.list(t, "app=mill")
	ips := map[string]bool{}
	for _, pod := range pods {
		ips[pod.Status.PodIP] = true
	}
	if len(ips) != 3 {
		t.Errorf("pod IPs: got %v, want 3 different ones", ips)
	}

	// kill -9: the container comes back in the same pod.
	victim := pods[0].Name
	pid, err := c.agent.Pid("default", victim, "app")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, victim, func(pod *corev1.Pod) error {
		s := pod.Status.ContainerStatuses[0]
		if s.RestartCount != 1 || !s.Ready || s.LastTerminationState.Terminated == nil ||
			s.LastTerminationState.Terminated.ExitCode != 137 {
			return fmt.Errorf("after kill -9: got %+v", s)
		}
		return nil
	})

	if _, err := c.AppsV1().Deployments("default").Patch(t.Context(), "mill", types.MergePatchType,
		[]byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error {
		if left := c.list(t, "app=mill"); len(left) > 0 {
			return fmt.Errorf("%d pods left", len(left))
		}
		return nil
	})
	log, err := c.agent.Log("default", victim, "app")
	if err != nil || !strings.Contains(log, "got SIGTERM") {
		t.Errorf("log of %s: got %q, %v; want SIGTERM", victim, log, err)
	}
}

func (c *cluster) list(t *testing.T, selector string) []corev1.Pod {
	t.Helper()
	list, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// run creates a pod from YAML.
func (c *cluster) run(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	decode(t, text, &pod)
	created, err := c.CoreV1().Pods("default").Create(t.Context(), &pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (c *cluster) eventually(t *testing.T, pod string, check func(*corev1.Pod) error) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() error {
		got, err := c.CoreV1().Pods("default").Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(got.Status.ContainerStatuses) == 0 {
			return fmt.Errorf("no container status, on node %q", got.Spec.NodeName)
		}
		return check(got)
	})
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}
