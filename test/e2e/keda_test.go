//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/pki"
)

// keda is a real KEDA: its operator and its server of external metrics.
type keda struct {
	// proxy is what the operator reaches Services by.
	proxy *serviceProxy
}

// startKEDA installs KEDA's definitions, runs its operator and metrics server on this host, and leads the API
// server's external metrics to the latter. Its certificates are made here: KEDA's own rotation writes them to a
// volume that only a pod has.
func startKEDA(c *cluster) *keda {
	c.t.Helper()
	c.run("kubectl", "create", "namespace", "keda")
	if err := c.plane.InstallCRDs(filepath.Join(c.moduleOf("hack/tools/keda", "github.com/kedacore/keda/v2"), "config/crd/bases")); err != nil {
		c.t.Fatal(err)
	}
	ca, err := pki.New("keda")
	if err != nil {
		c.t.Fatal(err)
	}
	server, err := ca.Server("127.0.0.1")
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := ca.Client("keda-metrics-apiserver")
	if err != nil {
		c.t.Fatal(err)
	}
	k := &keda{proxy: startServiceProxy(c)}
	service := fmt.Sprintf("127.0.0.1:%d", freePort(c.t))
	probe := fmt.Sprintf("127.0.0.1:%d", freePort(c.t))
	env := []string{"WATCH_NAMESPACE=", "POD_NAMESPACE=keda", "KEDA_CLUSTER_OBJECT_NAMESPACE=keda"}
	// Loopback is never asked for by a proxy, so that the API server needs no exception.
	c.host("keda-operator", append(env, "HTTP_PROXY="+k.proxy.url), []string{
		"--metrics-bind-address=0", "--health-probe-bind-address=" + probe, "--metrics-service-bind-address=" + service,
		"--cert-dir=" + certificates(c.t, ca, server),
	})
	harness.Eventually(c.t, time.Minute, func() error { return isOK("http://" + probe + "/readyz") })
	metricsServer{namespace: "keda", service: "keda-metrics-apiserver", tool: "keda-metrics-apiserver", env: env, args: []string{
		"--metrics-service-address=" + service, fmt.Sprintf("--port=%d", freePort(c.t)), "--cert-dir=" + certificates(c.t, ca, client),
	}}.start(c)
	return k
}

// certificates is a folder with a pair and its authority, as KEDA reads them.
func certificates(t testing.TB, ca *pki.Authority, pair pki.KeyPair) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.crt"), string(ca.PEM))
	write(t, filepath.Join(dir, "tls.crt"), string(pair.Cert))
	write(t, filepath.Join(dir, "tls.key"), string(pair.Key))
	return dir
}

// moduleOf is the folder with the source of a dependency of one of the tools' modules.
func (c *cluster) moduleOf(tools, path string) string {
	c.t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path)
	cmd.Dir = filepath.Join(c.root, tools)
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		c.t.Fatalf("go list %s in %s: %q %v", path, tools, dir, err)
	}
	return dir
}

func isOK(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// numbers is an HTTP server of the test that is reached by a Service: it listens where a pod that does nothing would.
type numbers struct {
	value  atomic.Int64
	status atomic.Int64
}

// startNumbers serves {"value": N} as http://numbers.default.svc:8080.
func startNumbers(c *cluster) *numbers {
	c.t.Helper()
	c.apply(`
apiVersion: v1
kind: Pod
metadata: {name: numbers, namespace: default, labels: {app: numbers}}
spec:
  containers: [{name: main, image: sleeper, ports: [{name: http, containerPort: 9000}]}]
---
apiVersion: v1
kind: Service
metadata: {name: numbers, namespace: default}
spec: {selector: {app: numbers}, ports: [{port: 8080, targetPort: http}]}
`)
	c.run("kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "pod/numbers")
	listener, err := net.Listen("tcp", c.run("kubectl", "get", "pod", "numbers", "-o", "jsonpath={.status.podIP}")+":9000")
	if err != nil {
		c.t.Fatal(err)
	}
	n := &numbers{}
	n.status.Store(http.StatusOK)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}}
	server.Start()
	c.t.Cleanup(server.Close)
	return n
}

// ServeHTTP implements http.Handler.
func (n *numbers) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(n.status.Load()))
	fmt.Fprintf(w, `{"value": %d}`, n.value.Load())
}

const scaledObject = `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: work, namespace: default}
spec:
  scaleTargetRef: {name: work}
  minReplicaCount: 0
  maxReplicaCount: 4
  pollingInterval: 1
  cooldownPeriod: 3
  advanced:
    horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 3}}}
  triggers:
  - type: metrics-api
    metadata: {url: "http://numbers.default.svc:8080/", valueLocation: value, targetValue: "10"}
`

// TestKEDA has KEDA scale a Deployment by a number that it reads from a Service, from zero and back, and sees what
// it does without a number, and what it writes into an object that another one applies.
func TestKEDA(t *testing.T) {
	c := startPlane(t, sleeper())
	k := startKEDA(c)
	n := startNumbers(c)
	apply := func() { c.apply(scaledObject, "--server-side", "--field-manager=applier") }
	get := func(path string) string {
		return c.run("kubectl", "get", "scaledobject", "work", "-o", "jsonpath="+path)
	}
	c.apply(sleepers("work", 1))
	apply()
	c.run("kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "scaledobject/work")
	c.wantReplicas(time.Minute, "work", 0)
	n.value.Store(35)
	c.wantReplicas(time.Minute, "work", 4)
	n.value.Store(15)
	c.wantReplicas(time.Minute, "work", 2)
	n.value.Store(0)
	c.wantReplicas(time.Minute, "work", 0)
	t.Run("who applies the same writes nothing", func(t *testing.T) {
		// KEDA adds its finalizer and label, and an empty field; it owns these and takes no other.
		// The last that it writes into the status of what has gone to sleep.
		c.run("kubectl", "wait", `--for=jsonpath={.status.conditions[?(@.type=="HPAActive")].reason}=ScalingDisabled`, "--timeout=60s", "scaledobject/work")
		if got := get("{.metadata.generation} {.metadata.finalizers} {.metadata.labels} {.spec.advanced.scalingModifiers}"); got !=
			`2 ["finalizer.keda.sh"] {"scaledobject.keda.sh/name":"work"} {}` {
			t.Errorf("KEDA made it %s", got)
		}
		before := get("{.metadata.resourceVersion} {.spec}")
		apply()
		if got := get("{.metadata.resourceVersion} {.spec}"); got != before {
			t.Errorf("applied again: from %s to %s", before, got)
		}
	})
	n.value.Store(25)
	c.wantReplicas(time.Minute, "work", 3)
	for _, status := range []int64{http.StatusServiceUnavailable, http.StatusNotFound} {
		t.Run(fmt.Sprintf("nothing moves while the answer is %d", status), func(t *testing.T) {
			n.status.Store(status)
			c.run("kubectl", "wait", "--for=condition=Ready=false", "--timeout=60s", "scaledobject/work")
			harness.Consistently(t, 10*time.Second, func() error { return c.hasReplicas("work", 3) })
			t.Log(get(`{.status.conditions[?(@.type=="Ready")]} {.status.conditions[?(@.type=="Active")]}`))
			n.status.Store(http.StatusOK)
			c.run("kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "scaledobject/work")
		})
	}
	if k.proxy.passed.Load() == 0 {
		t.Error("no request went through the proxy")
	}
}
