//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/process"
)

// metricsServer is another one's server of external metrics, which runs on this host as it does in a pod:
// that of KEDA, or prometheus-adapter.
type metricsServer struct {
	namespace, service string
	// tool is the name that hack/tools/build.sh builds it by.
	tool string
	// args without those of serving and of its clients, and what it reads from the environment.
	args, env []string
}

// start runs the server and leads the API server's external metrics to it.
func (s metricsServer) start(c *cluster) *process.Process {
	c.t.Helper()
	dir, port := c.t.TempDir(), freePort(c.t)
	cert, key, ca, err := c.plane.ServingCertificate(s.service + "." + s.namespace + ".svc")
	if err != nil {
		c.t.Fatal(err)
	}
	write(c.t, filepath.Join(dir, "tls.crt"), string(cert))
	write(c.t, filepath.Join(dir, "tls.key"), string(key))
	p := c.host(s.tool, s.env, append([]string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + filepath.Join(dir, "tls.crt"), "--tls-private-key-file=" + filepath.Join(dir, "tls.key"),
		"--lister-kubeconfig=" + c.plane.Kubeconfig(), "--authentication-kubeconfig=" + c.plane.Kubeconfig(),
		"--authorization-kubeconfig=" + c.plane.Kubeconfig(),
	}, s.args...))
	// The harness has no kube-proxy: the API server calls what an ExternalName says, at the APIService's port.
	c.apply(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec: {type: ExternalName, externalName: 127.0.0.1}
`, s.service, s.namespace))
	c.apply(metricsAPIService(s.namespace, s.service, port, "caBundle: "+base64.StdEncoding.EncodeToString(ca)))
	c.run("kubectl", "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1beta1.external.metrics.k8s.io")
	return p
}

// host runs a pinned tool on this host, as administrator of the cluster, until the test ends.
func (c *cluster) host(tool string, env, args []string) *process.Process {
	c.t.Helper()
	path, err := c.tool(tool)
	if err != nil {
		c.t.Fatal(err)
	}
	p, err := process.Start(process.Command{
		Name: tool, Path: path, Args: args, LogFile: filepath.Join(c.t.TempDir(), tool+".log"),
		Env: append(append(os.Environ(), "KUBECONFIG="+c.plane.Kubeconfig()), env...),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", tool, p.Tail(6000))
		}
		p.Stop(10 * time.Second)
	})
	return p
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// replicas returns how many pods a Deployment in namespace default asks for, and how many are ready.
func (c *cluster) replicas(name string) (asked, ready int32, err error) {
	d, err := c.plane.Client().AppsV1().Deployments("default").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return 0, 0, err
	}
	return *d.Spec.Replicas, d.Status.ReadyReplicas, nil
}

// hasReplicas fails unless a Deployment in namespace default has so many replicas, all of them ready.
func (c *cluster) hasReplicas(name string, want int32) error {
	asked, ready, err := c.replicas(name)
	if err == nil && (asked != want || ready != want) {
		err = fmt.Errorf("%s has %d replicas, %d of them ready, want %d", name, asked, ready, want)
	}
	return err
}

// wantReplicas waits until it has.
func (c *cluster) wantReplicas(within time.Duration, name string, want int32) {
	c.t.Helper()
	began := time.Now()
	harness.Eventually(c.t, within, func() error { return c.hasReplicas(name, want) })
	c.t.Logf("%s has %d replicas after %s", name, want, time.Since(began).Round(100*time.Millisecond))
}
