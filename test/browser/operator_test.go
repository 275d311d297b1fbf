package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/node"
	"millrace.dev/millrace/test/harness/process"
)

// inCluster are two pipelines, of which the user may see one, by the role that Kubernetes has for that.
const inCluster = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bank}}
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: orders, namespace: shop}
spec:
  streams: {storage: Memory, maxBytes: 64Mi}
  stages:
  - name: check
    from: [ingress]
    validate: {rules: [{expression: "event.type != 'test.wrong'", message: it is wrong}]}
  - name: label
    from: [check]
    enrich: {semantic: {}}
---
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: ledger, namespace: bank}
spec:
  streams: {storage: Memory, maxBytes: 1Mi}
  stages:
  - {name: keep, from: [ingress], suspend: true, validate: {}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: viewer, namespace: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewer, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: viewer, namespace: shop}]
`

// stages of the large pipeline, each with 8 partitions. Nothing runs there: what is looked at is the page.
const largeStages = 64

func largePipeline() string {
	var b strings.Builder
	b.WriteString("apiVersion: millrace.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: large, namespace: shop}\n" +
		"spec:\n  partitions: 8\n  streams: {storage: Memory, maxBytes: 1Mi}\n  stages:\n")
	from := "ingress"
	for i := range largeStages {
		fmt.Fprintf(&b, "  - {name: stage-%d, from: [%s], suspend: true, enrich: {semantic: {}}}\n", i, from)
		if from = fmt.Sprintf("stage-%d", i); i%8 == 7 {
			from = fmt.Sprintf("stage-%d", i-4) // branches
		}
	}
	return b.String()
}

// deployed is the chart on a real control plane, with a node whose workers are processes.
type deployed struct {
	t          *testing.T
	root       string
	plane      *kube.ControlPlane
	node       *node.Agent
	js         jetstream.JetStream
	kubectlBin string
	// address of the console.
	address string
	// measured is when the CPU of the operator was looked at last, and used what it had used.
	measured time.Time
	used     time.Duration
}

func deploy(t *testing.T) *deployed {
	t.Helper()
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	server := harness.StartNATS(t, natsserver.Options{})
	d := &deployed{t: t, plane: harness.StartControlPlane(t, kube.Options{}), js: harness.JetStream(t, server)}
	// A worker that dies twice stays away for long enough to be missed.
	d.node = harness.StartNode(t, d.plane, node.Options{Config: d.plane.Config(), Images: map[string][]string{"millrace": {binary}}, BackOff: 8 * time.Second})
	var err error
	if d.root, err = kube.ModuleRoot(); err != nil {
		t.Fatal(err)
	}
	if d.kubectlBin, err = kube.Find("kubectl"); err != nil {
		t.Fatal(err)
	}
	port, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	d.address = "https://localhost:" + strconv.Itoa(port) // as by kubectl port-forward
	d.run(strings.TrimSpace(output(t, filepath.Join(d.root, "hack", "tools", "build.sh"), "helm")), "",
		"install", "millrace", filepath.Join(d.root, "charts", "millrace"), "--namespace", "millrace", "--create-namespace", "--wait", "--timeout", "90s",
		"--set", "nats.url="+server.URL(), "--set", "operator.replicas=1", "--set", "autoscaling.backend=direct", "--set", "admissionWebhook.enabled=false",
		"--set", "console.enabled=true", "--set", "console.port="+strconv.Itoa(port))
	return d
}

func (d *deployed) run(name, stdin string, args ...string) string {
	d.t.Helper()
	command := exec.CommandContext(d.t.Context(), name, args...)
	home := d.t.TempDir()
	command.Env = append(os.Environ(), "KUBECONFIG="+d.plane.Kubeconfig(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *deployed) kubectl(args ...string) string {
	d.t.Helper()
	return d.run(d.kubectlBin, "", args...)
}

// measure logs what the operator has used since the last call, as part of one core.
func (d *deployed) measure(what string) {
	d.t.Helper()
	pods, err := d.plane.Client().CoreV1().Pods("millrace").List(d.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=operator"})
	if err != nil || len(pods.Items) != 1 {
		d.t.Fatalf("%d operators, %v", len(pods.Items), err)
	}
	pid, err := d.node.Pid("millrace", pods.Items[0].Name, "operator")
	if err != nil {
		d.t.Fatal(err)
	}
	used, err := cpuTime(pid)
	if err != nil {
		d.t.Fatal(err)
	}
	if !d.measured.IsZero() {
		d.t.Logf("the operator, %s: %.2f %% of a core", what, 100*(used-d.used).Seconds()/time.Since(d.measured).Seconds())
	}
	d.measured, d.used = time.Now(), used
}

// cpuTime is what a process has used (proc(5)).
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime, in hundredths of a second
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// publish publishes events until ctx ends.
func (d *deployed) publish(ctx context.Context, subject string, perSecond int) {
	ticker := time.NewTicker(time.Second / 10)
	defer ticker.Stop()
	for n := 0; ; {
		for range perSecond / 10 {
			kind := "test.order"
			if n%100 == 99 {
				kind = "test.wrong"
			}
			n++
			if _, err := d.js.PublishAsync(subject, fmt.Appendf(nil, `{"id":"order-%d","source":"/test","type":%q,"body":"order %d"}`, n, kind, n)); err != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// pid is the process of the worker of a stage in namespace shop.
func (d *deployed) pid(stage string) (int, error) {
	pods, err := d.plane.Client().CoreV1().Pods("shop").List(d.t.Context(), metav1.ListOptions{LabelSelector: "millrace.dev/stage=" + stage})
	if err != nil {
		return 0, err
	}
	if len(pods.Items) != 1 {
		return 0, fmt.Errorf("stage %s has %d pods", stage, len(pods.Items))
	}
	return d.node.Pid("shop", pods.Items[0].Name, pods.Items[0].Spec.Containers[0].Name)
}

// kill kills the worker of a stage, and the one that takes its place at once: the next one comes after the delay of crashing containers.
func (d *deployed) kill(stage string) {
	d.t.Helper()
	before := 0
	for range 2 {
		harness.Eventually(d.t, 30*time.Second, func() error {
			pid, err := d.pid(stage)
			if err == nil && pid == before {
				err = fmt.Errorf("process %d is still there", pid)
			}
			if err != nil {
				return err
			}
			before = pid
			return syscall.Kill(pid, syscall.SIGKILL)
		})
	}
}

// TestConsoleOfTheOperator: somebody with the role view of one namespace signs in with a token, sees its pipeline and no other, watches a worker die and
// come back, can replay nothing, and signs out.
func TestConsoleOfTheOperator(t *testing.T) {
	t.Parallel()
	started := time.Now()
	d := deploy(t)
	d.run(d.kubectlBin, inCluster+"---\n"+largePipeline(), "apply", "-f", "-")
	d.kubectl("-n", "shop", "wait", "--for=condition=Ready", "--timeout=60s", "pipelines.millrace.dev/orders")
	token := d.kubectl("-n", "shop", "create", "token", "viewer", "--audience", "millrace.dev/console")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go d.publish(ctx, "shop.orders.raw.test", 400)
	t.Logf("ready after %s", time.Since(started).Round(time.Second))
	shots := filepath.Join(d.root, "dist", "console")
	if *images {
		shots = filepath.Join(d.root, "docs", "images")
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	play(t, d.root, "operator.mjs", map[string]any{
		"address": d.address, "token": token, "shots": shots, "images": *images, "measure": *measure, "stages": largeStages, "profile": filepath.Join(t.TempDir(), "profile"),
		"chromium": output(t, filepath.Join(d.root, "hack", "chromium", "find.sh")),
	}, func(asked string) {
		if stage, ok := strings.CutPrefix(asked, "KILL "); ok {
			d.kill(stage)
		}
		if what, ok := strings.CutPrefix(asked, "MEASURE "); ok {
			d.measure(what)
		}
	})
	t.Logf("took %s", time.Since(started).Round(time.Second))
}

// play runs a script. It hears of each line that the script prints, and tells the script when it has done what that asks for.
func play(t *testing.T, root, script string, wanted map[string]any, heard func(line string)) {
	t.Helper()
	content, err := json.Marshal(wanted)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", script)
	command.Dir = install(t, root)
	if err := os.WriteFile(filepath.Join(command.Dir, "wanted.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	told, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(told)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		t.Log(lines.Text())
		heard(lines.Text())
	}
	_, _ = io.Copy(io.Discard, told)
	if err := command.Wait(); err != nil {
		t.Errorf("%s: %v; screenshots are in %s", script, err, wanted["shots"])
	}
}
