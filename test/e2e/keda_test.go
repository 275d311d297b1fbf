//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
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

// TestKEDA has KEDA scale the workers of a stage by the numbers of the operator, from zero and back, under load, and
// counts every event; then NATS is away.
func TestKEDA(t *testing.T) {
	together(t)
	c := newCluster(t, "autoscaling.backend=keda", "autoscaling.scaleDownWindow=6s")
	c.apply(scaledPipeline("keda", "min: 0, max: 4, targetLag: 1500"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "keda") })
	c.run("kubectl", "wait", `--for=jsonpath={.status.conditions[?(@.type=="AutoscalingReady")].reason}=NoKEDA`, "--timeout=60s", "stages.millrace.dev/keda-slow")

	k := startKEDA(c)
	c.run("kubectl", "wait", "--for=condition=AutoscalingReady", "--timeout=60s", "stages.millrace.dev/keda-slow")
	c.run("kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "scaledobject/keda-slow")
	c.wantReplicas(time.Minute, "keda-slow", 0)

	t.Run("from zero to several to zero under load", func(t *testing.T) {
		const events = 25_000
		begun := time.Now()
		if err := publishNumbered(t.Context(), c.js, "keda.raw.load", events, 50); err != nil {
			t.Fatal(err)
		}
		most := c.most(4*time.Minute, "keda-slow", 0)
		t.Logf("from 0 to %d to 0 workers in %s", most, time.Since(begun).Round(time.Second))
		if most < 3 { // the lag of few frames of different size is an estimate
			t.Errorf("at most %d workers, want 3 or 4", most)
		}
		c.balance(t, "KEDA_DONE", "keda.slow.>", events)
	})
	t.Run("who applies the same writes nothing", func(t *testing.T) {
		// KEDA adds its finalizer, a label and an empty field to what the operator applies.
		before := c.run("kubectl", "get", "scaledobject", "keda-slow", "-o", "jsonpath={.metadata.generation} {.spec}")
		time.Sleep(10 * time.Second)
		if after := c.run("kubectl", "get", "scaledobject", "keda-slow", "-o", "jsonpath={.metadata.generation} {.spec}"); after != before {
			t.Errorf("the ScaledObject was written: from %s to %s", before, after)
		}
	})
	t.Run("nothing moves while the lag is not known", func(t *testing.T) {
		c.publish("keda.raw.load", []byte(`{"id":"n-0","source":"/load","type":"app.log","body":"wake up"}`))
		harness.Eventually(t, time.Minute, func() error {
			if _, ready, err := c.replicas("keda-slow"); err != nil || ready == 0 {
				return fmt.Errorf("no worker is ready: %w", err)
			}
			return nil
		})
		c.nats[0].Kill9()
		c.run("kubectl", "wait", "--for=condition=Ready=false", "--timeout=60s", "scaledobject/keda-slow")
		c.run("kubectl", "wait", `--for=jsonpath={.status.conditions[?(@.type=="AutoscalingReady")].reason}=MetricsUnavailable`, "--timeout=60s", "stages.millrace.dev/keda-slow")
		asked, _, err := c.replicas("keda-slow")
		if err != nil || asked == 0 {
			t.Fatalf("%d workers: %v", asked, err)
		}
		harness.Consistently(t, 10*time.Second, func() error {
			now, _, err := c.replicas("keda-slow")
			if err == nil && now != asked {
				err = fmt.Errorf("from %d to %d workers", asked, now)
			}
			return err
		})
		if err := c.nats[0].Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.run("kubectl", "wait", "--for=condition=AutoscalingReady", "--timeout=60s", "stages.millrace.dev/keda-slow")
		c.wantReplicas(2*time.Minute, "keda-slow", 0)
	})
	t.Run("the pipeline goes, and KEDA lets go", func(t *testing.T) {
		c.run("kubectl", "delete", "pipelines.millrace.dev", "keda", "--timeout=60s")
		c.run("kubectl", "wait", "--for=delete", "--timeout=60s", "scaledobject/keda-slow")
	})
	if k.proxy.passed.Load() == 0 {
		t.Error("no request went through the proxy")
	}
}

// most waits until a Deployment has more than the given number of replicas, and then that number again, and returns how
// many it had at most.
func (c *cluster) most(within time.Duration, name string, least int32) int32 {
	c.t.Helper()
	most := int32(0)
	harness.Eventually(c.t, within, func() error {
		asked, ready, err := c.replicas(name)
		most = max(most, asked)
		if err == nil && (most <= least || asked != least || ready != least) {
			err = fmt.Errorf("%s has %d replicas, %d of them ready, and had %d at most", name, asked, ready, most)
		}
		return err
	})
	return most
}
