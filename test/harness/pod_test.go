package harness_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"millrace.dev/millrace/test/harness"
)

func testConfiguration(t *testing.T, c *cluster) {
	configMap := c.configMap(t, "settings", "rate: 1\n")
	_, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "login"}, StringData: map[string]string{"password": "s3cret"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, `
apiVersion: v1
kind: Pod
metadata: {name: configured, labels: {team: mill}}
spec:
  containers:
  - name: app
    image: registry.test/app
    args: ["--file=/etc/settings/config.yaml", "--as=$(WHO)/$(NOBODY)"]
    resources: {limits: {cpu: 1500m, memory: 64Mi}}
    envFrom: [{prefix: FROM_, configMapRef: {name: settings}}]
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: "metadata.labels['team']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: MAYBE, valueFrom: {secretKeyRef: {name: absent, key: x, optional: true}}}
    - {name: SCRATCH, value: /scratch/cache}
    readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: scratch, mountPath: /scratch}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: scratch, emptyDir: {}}
`)
	pod := c.ready(t, "configured")
	env := get(t, pod, "/env")
	for _, want := range []string{
		"WHO=mill", "NODE=" + pod.Spec.NodeName, "CPUS=2", "MEMORY=64", "PASSWORD=s3cret",
		"FROM_config.yaml=rate: 1", "HOSTNAME=configured", "/scratch/cache",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("environment: %q is missing in\n%s", want, env)
		}
	}
	if strings.Contains(env, "MAYBE=") {
		t.Error("an optional variable without a source is set")
	}
	if args := get(t, pod, "/args"); !strings.Contains(args, "--as=mill/$(NOBODY)") {
		t.Errorf("arguments: got %s", args)
	}
	if got := get(t, pod, "/file"); got != "rate: 1\n" {
		t.Errorf("mounted file: got %q", got)
	}

	configMap.Data["config.yaml"] = "rate: 2\n"
	if _, err := c.CoreV1().ConfigMaps("default").Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if got := get(t, pod, "/file"); got != "rate: 2\n" {
			return fmt.Errorf("mounted file after an update: got %q", got)
		}
		return nil
	})
}

// testServiceToken acts with the kubeconfig that the pod was given.
func testServiceToken(t *testing.T, c *cluster) {
	c.run(t, appPod("talker", ""))
	pod := c.ready(t, "talker")
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content, _, _ := strings.Cut(get(t, pod, "/token"), " <nil>")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:default:default") {
		t.Errorf("list as the pod: got %v, want forbidden to its service account", err)
	}
}

func testProbes(t *testing.T, c *cluster) {
	c.run(t, appPod("probed", `
    startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 20}
    livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 1, failureThreshold: 1}
`))
	pod := c.ready(t, "probed")

	post(t, pod, "/unready")
	c.eventually(t, "probed", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses[0]; s.Ready || s.RestartCount != 0 {
			return fmt.Errorf("after a failed readiness probe: got %+v", s)
		}
		return nil
	})
	post(t, pod, "/wedge")
	c.eventually(t, "probed", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses[0]; !s.Ready || s.RestartCount != 1 {
			return fmt.Errorf("after a failed liveness probe: got %+v", s)
		}
		return nil
	})
	c.event(t, "probed", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
	c.event(t, "probed", "Killing", "Container app failed liveness probe, will be restarted")
}

func testGracePeriod(t *testing.T, c *cluster) {
	c.run(t, appPod("stubborn", `
    args: ["--stubborn"]
`))
	c.ready(t, "stubborn")
	pid, err := c.agent.Pid("default", "stubborn", "app")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c.remove(t, "stubborn", 1)
	if took := time.Since(began); took < time.Second {
		t.Errorf("the pod was gone after %s, before its grace period", took)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !os.IsNotExist(err) {
		t.Errorf("process %d survived its pod", pid)
	}
	if log, err := c.agent.Log("default", "stubborn", "app"); err != nil || !strings.Contains(log, "got SIGTERM") {
		t.Errorf("log: got %q, %v; want SIGTERM", log, err)
	}
}

func testCrashLoop(t *testing.T, c *cluster) {
	c.run(t, appPod("crashing", `
    args: ["--crash"]
    terminationMessagePolicy: FallbackToLogsOnError
`))
	c.eventually(t, "crashing", func(pod *corev1.Pod) error {
		s := pod.Status.ContainerStatuses[0]
		last := s.LastTerminationState.Terminated
		if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.RestartCount < 2 ||
			last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "crashing as told\n" {
			return fmt.Errorf("got %+v", s)
		}
		return nil
	})
	c.event(t, "crashing", "BackOff", "Back-off restarting failed container app in pod crashing_default")
}

func testUnknownImage(t *testing.T, c *cluster) {
	c.run(t, strings.ReplaceAll(appPod("typo", ""), "registry.test/app", "registry.test/ap"))
	c.eventually(t, "typo", func(pod *corev1.Pod) error {
		w := pod.Status.ContainerStatuses[0].State.Waiting
		if pod.Status.Phase != corev1.PodPending || w == nil || w.Reason != "ImagePullBackOff" {
			return fmt.Errorf("got %s, %+v", pod.Status.Phase, w)
		}
		return nil
	})
	c.event(t, "typo", "Failed", "Error: ErrImagePull")
	c.wholeEvent(t, "typo", "BackOff", `Back-off pulling image "registry.test/ap"`)
	c.wholeEvent(t, "typo", "Failed", `Failed to pull image "registry.test/ap": rpc error: code = NotFound desc = `+
		`failed to pull and unpack image "registry.test/ap": failed to resolve reference "registry.test/ap": registry.test/ap: not found`)
	c.remove(t, "typo", 30) // at once: nothing runs
}

// testLateConfigMap starts a pod before the ConfigMap that it mounts.
func testLateConfigMap(t *testing.T, c *cluster) {
	c.run(t, appPod("early", `
    volumeMounts: [{name: late, mountPath: /etc/late}]
  volumes: [{name: late, configMap: {name: late}}]
`))
	c.event(t, "early", "FailedMount", `MountVolume.SetUp failed for volume "late" : configmap "late" not found`)
	c.configMap(t, "late", "x")
	c.ready(t, "early")
}

// ready waits for the pod's Ready condition.
func (c *cluster) ready(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var ready *corev1.Pod
	c.eventually(t, name, func(pod *corev1.Pod) error {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				ready = pod
				return nil
			}
		}
		return fmt.Errorf("%s is not ready: %+v", name, pod.Status.ContainerStatuses)
	})
	return ready
}

// event waits for an event about a pod.
func (c *cluster) event(t *testing.T, pod, reason, message string) {
	t.Helper()
	harness.Eventually(t, 15*time.Second, func() error {
		list, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
		})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if strings.Contains(e.Message, message) {
				return nil
			}
		}
		return fmt.Errorf("no event %s of %s with %q among %d", reason, pod, message, len(list.Items))
	})
}

func (c *cluster) configMap(t *testing.T, name, content string) *corev1.ConfigMap {
	t.Helper()
	created, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"config.yaml": content},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// appPod is a pod of the test program; more is added to its container.
func appPod(name, more string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  containers:
  - name: app
    image: registry.test/app
    ports: [{name: http, containerPort: 8080}]
    env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1, failureThreshold: 1}
` + more
}

func get(t *testing.T, pod *corev1.Pod, path string) string {
	t.Helper()
	response, err := http.Get("http://" + pod.Status.PodIP + ":8080" + path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func post(t *testing.T, pod *corev1.Pod, path string) {
	t.Helper()
	response, err := http.Post("http://"+pod.Status.PodIP+":8080"+path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
}
