package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
)

// cluster is a control plane with a node, a NATS server and the operator, installed by helm.
type cluster struct {
	t       testing.TB
	root    string
	plane   *kube.ControlPlane
	node    *node.Agent
	nats    []*natsserver.Server
	js      jetstream.JetStream
	kubectl string
}

// newCluster installs the chart with the given extra values in namespace millrace-system.
// Pods of the images "crasher" and "shell" run /bin/sh, those of "hung" never do anything, and those of "one-core"
// run the binary as on a node of one core.
func newCluster(t testing.TB, values ...string) *cluster {
	t.Helper()
	return newClusterOn(t, []*natsserver.Server{harness.StartNATS(t, natsserver.Options{})}, values...)
}

// newClusterOn is newCluster with given NATS servers, which are one cluster when there are several.
func newClusterOn(t testing.TB, servers []*natsserver.Server, values ...string) *cluster {
	t.Helper()
	return startCluster(t, setup{servers: servers, values: values})
}

// setup is what a cluster may have otherwise.
type setup struct {
	servers []*natsserver.Server
	// connect are options of the test's own connection.
	connect []nats.Option
	// before, if set, is called when the namespaces are there and before the chart is installed.
	before func(*cluster)
	values []string
	// nodes of the cluster, 1 if 0.
	nodes int
	// chart that is installed, if it is not that of this tree.
	chart string
	// images that nodes have beside those of newCluster.
	images map[string][]string
}

func startCluster(t testing.TB, s setup) *cluster {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	images := map[string][]string{
		"millrace": {binary}, "crasher": {"/bin/sh"}, "shell": {"/bin/sh"},
		"hung": {"/bin/sh", "-c", "exec sleep 100000"}, "one-core": {"/usr/bin/env", "GOMAXPROCS=1", binary},
	}
	maps.Copy(images, s.images)
	c := startNodes(t, s.nodes, images)
	c.nats = s.servers
	nc, err := nats.Connect(c.url(), append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond)}, s.connect...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if c.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	c.run("kubectl", "create", "namespace", "millrace-system")
	for _, ns := range []string{"millrace-system", "default"} {
		c.run("kubectl", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
	}
	if s.before != nil {
		s.before(c)
	}
	args := []string{
		"install", "millrace", cmp.Or(s.chart, filepath.Join(c.root, "charts/millrace")), "--namespace", "millrace-system",
		"--set", "nats.url=" + strings.ReplaceAll(c.url(), ",", `\,`), "--set", "workers.enrich.namespaces={default}", "--set", "autoscaling.backend=direct",
		// One operator, of which tests know where it is; TestTwoOperators has two.
		"--set", "operator.replicas=1", "--wait", "--timeout", "90s",
	}
	for _, v := range s.values {
		args = append(args, "--set", v)
	}
	c.run("helm", args...)
	return c
}

// startNodes starts a control plane and nodes that run the given images, without NATS and without Millrace.
func startNodes(t testing.TB, nodes int, images map[string][]string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var err error
	if c.root, err = kube.ModuleRoot(); err != nil {
		t.Fatal(err)
	}
	c.plane = harness.StartControlPlane(t, kube.Options{})
	c.node = harness.StartNode(t, c.plane, node.Options{
		Config: c.plane.Config(), Nodes: nodes, Images: images, BackOff: time.Second, MaxBackOff: 5 * time.Second,
	})
	if c.kubectl, err = kube.Find("kubectl"); err != nil {
		t.Fatal(err)
	}
	return c
}

// url names all NATS servers.
func (c *cluster) url() string {
	urls := make([]string, len(c.nats))
	for i, s := range c.nats {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// run runs kubectl or helm against the cluster and returns what it printed.
func (c *cluster) run(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) try(name string, args ...string) (string, error) {
	path := c.kubectl
	if name == "helm" {
		var err error
		if path, err = c.tool("helm"); err != nil {
			return "", err
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.plane.Kubeconfig(), "HELM_CACHE_HOME="+c.plane.Dir()+"/helm",
		"HELM_CONFIG_HOME="+c.plane.Dir()+"/helm", "HELM_DATA_HOME="+c.plane.Dir()+"/helm")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tool builds a pinned tool, or finds it in the cache, and returns the path of the binary.
func (c *cluster) tool(name string) (string, error) {
	built, err := exec.Command(filepath.Join(c.root, "hack/tools/build.sh"), name).Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return strings.TrimSpace(string(built)), nil
}

// apply applies a manifest by kubectl.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run("kubectl", "apply", "-f", file)
}

// ready fails the check until the object's Ready condition is True and speaks of its generation.
func (c *cluster) ready(kind, name string) error {
	out, err := c.try("kubectl", "get", kind, name, "-o", "json")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var o struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			ObservedGeneration int64
			Conditions         []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		return err
	}
	for _, cond := range o.Status.Conditions {
		if cond.Type == "Ready" && cond.Status == "True" && o.Status.ObservedGeneration == o.Metadata.Generation {
			return nil
		}
	}
	return fmt.Errorf("%s %s is not ready: %+v", kind, name, o.Status)
}

// stored returns the number of messages of a stream.
func (c *cluster) stored(ctx context.Context, stream string) (uint64, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Msgs, nil
}

// publish publishes one message and waits for its PubAck.
func (c *cluster) publish(subject string, data []byte, headers ...string) {
	c.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = data
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if _, err := c.js.PublishMsg(c.t.Context(), m); err != nil {
		c.t.Fatalf("publish on %s: %v", subject, err)
	}
}
