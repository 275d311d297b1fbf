//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/process"
)

// monitors are what the chart makes for the Prometheus operator, read as strictly as that does.
type monitors struct {
	// services are those of the operator and, if there is one, of the collector.
	services []*monitoring.ServiceMonitor
	pod      monitoring.PodMonitor
	rule     monitoring.PrometheusRule
}

// monitors renders them with the given extra values.
func (c *cluster) monitors(values ...string) monitors {
	c.t.Helper()
	args := []string{
		"template", "millrace", filepath.Join(c.root, "charts/millrace"), "--namespace", "millrace-system", "--show-only", "templates/monitoring.yaml",
		"--set", "monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true",
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	var m monitors
	for _, document := range strings.Split(c.run("helm", args...), "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			c.t.Fatal(err)
		}
		service := &monitoring.ServiceMonitor{}
		into := map[string]any{"ServiceMonitor": service, "PodMonitor": &m.pod, "PrometheusRule": &m.rule}[kind.Kind]
		if into == nil {
			continue
		}
		if into == service {
			m.services = append(m.services, service)
		}
		if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
			c.t.Fatalf("%s: %v", kind.Kind, err)
		}
	}
	if len(m.services) == 0 || m.pod.Name == "" || m.rule.Name == "" {
		c.t.Fatalf("not all monitors are rendered: %+v", m)
	}
	return m
}

// target is what a scrape job keeps: pods with these labels, and one of their ports.
type target struct {
	selector map[string]string
	port     string
	// secure has the job scrape by TLS, with a token.
	secure bool
}

// targets are what the monitors select, as the Prometheus operator resolves them: pods in both
// cases, since EndpointSlices have no loopback addresses, which pods have here.
func (c *cluster) targets(m monitors) map[string]target {
	c.t.Helper()
	if !m.pod.Spec.NamespaceSelector.Any {
		c.t.Fatalf("PodMonitor: %+v, want all namespaces", m.pod.Spec.NamespaceSelector)
	}
	found := map[string]target{"workers": {m.pod.Spec.Selector.MatchLabels, *m.pod.Spec.PodMetricsEndpoints[0].Port, false}}
	for _, monitor := range m.services {
		selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
		if err != nil {
			c.t.Fatal(err)
		}
		services, err := c.plane.Client().CoreV1().Services(monitor.Namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: selector.String()})
		if err != nil {
			c.t.Fatal(err)
		}
		endpoint := monitor.Spec.Endpoints[0]
		for _, s := range services.Items {
			for _, p := range s.Spec.Ports {
				if p.Name == endpoint.Port {
					found[s.Name] = target{s.Spec.Selector, p.TargetPort.String(), endpoint.BearerTokenFile != ""} //nolint:staticcheck // nothing else names the token of Prometheus itself
				}
			}
		}
	}
	if len(found) != 3 {
		c.t.Fatalf("the monitors select %v, want workers, operator and collector", found)
	}
	for name, t := range found {
		pods, err := c.plane.Client().CoreV1().Pods("").List(c.t.Context(), metav1.ListOptions{LabelSelector: labels.SelectorFromSet(t.selector).String()})
		if err != nil {
			c.t.Fatal(err)
		}
		if len(pods.Items) == 0 || portOf(&pods.Items[0], t.port) == 0 {
			c.t.Errorf("%s: %d pods have the labels %v, or have no port %s", name, len(pods.Items), t.selector, t.port)
		}
	}
	return found
}

// portOf is the number of a named port; 0 when the pod has none of this name.
func portOf(pod *corev1.Pod, name string) int32 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// prometheusServer is a real Prometheus.
type prometheusServer struct {
	t   testing.TB
	url string
}

// startPrometheus has a real Prometheus scrape what the monitors select, every second, with the
// rules of m.
func (c *cluster) startPrometheus(m monitors) *prometheusServer {
	c.t.Helper()
	targets := c.targets(m)
	rules, err := yaml.Marshal(m.rule.Spec)
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.t.TempDir()
	write(c.t, filepath.Join(dir, "rules.yaml"), string(rules))
	write(c.t, filepath.Join(dir, "token"), c.scraper())
	write(c.t, filepath.Join(dir, "prometheus.yaml"), scrapeConfig(c.discover(targets), targets))
	return c.runPrometheus(dir)
}

// runPrometheus runs a real Prometheus with prometheus.yaml of the folder.
func (c *cluster) runPrometheus(dir string) *prometheusServer {
	c.t.Helper()
	out, err := exec.Command(filepath.Join(c.root, "hack/prometheus/find.sh")).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		c.t.Fatalf("hack/prometheus/find.sh: %v", err)
	}
	bin := strings.TrimSpace(string(out))
	if out, err := exec.Command(filepath.Join(bin, "promtool"), "check", "config", filepath.Join(dir, "prometheus.yaml")).CombinedOutput(); err != nil {
		c.t.Fatalf("promtool check config: %v\n%s", err, out)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(c.t))
	server, err := process.Start(process.Command{
		Name: "prometheus", Path: filepath.Join(bin, "prometheus"), Dir: dir, LogFile: filepath.Join(dir, "prometheus.log"), Env: os.Environ(),
		Args: []string{"--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=" + address, "--log.level=warn"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	p := &prometheusServer{c.t, "http://" + address}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Log("prometheus:\n" + server.Tail(4000))
		}
		server.Stop(10 * time.Second)
	})
	harness.Eventually(c.t, 30*time.Second, func() error { _, err := p.try("/-/ready", nil); return err })
	return p
}

// discover serves the running pods of each target to Prometheus, as its own discovery in Kubernetes would find
// them: Debian builds Prometheus without that one.
func (c *cluster) discover(targets map[string]target) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		groups, err := c.groups(r.Context(), targets[strings.TrimPrefix(r.URL.Path, "/")])
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(groups)
	}))
	c.t.Cleanup(server.Close)
	return server.URL
}

type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func (c *cluster) groups(ctx context.Context, t target) ([]group, error) {
	pods, err := c.plane.Client().CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(t.selector).String()})
	if err != nil {
		return nil, err
	}
	found := []group{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if port := portOf(pod, t.port); port != 0 && pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" {
			found = append(found, group{[]string{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port)))}, map[string]string{"namespace": pod.Namespace, "pod": pod.Name}})
		}
	}
	return found, nil
}

// scraper is the token of a ServiceAccount that may get the operator's metrics.
func (c *cluster) scraper() string {
	c.t.Helper()
	c.apply(`
{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: default, name: scraper}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "millrace-system:millrace-metrics-reader"}
subjects: [{kind: ServiceAccount, namespace: default, name: scraper}]
`)
	config, err := c.plane.ServiceAccountConfig(c.t.Context(), "default", "scraper")
	if err != nil {
		c.t.Fatal(err)
	}
	return config.BearerToken
}

func scrapeConfig(discovery string, targets map[string]target) string {
	var jobs []any
	for name, target := range targets {
		job := map[string]any{"job_name": name, "http_sd_configs": []any{map[string]any{"url": discovery + "/" + name, "refresh_interval": "1s"}}}
		if target.secure {
			job["scheme"], job["tls_config"] = "https", map[string]any{"insecure_skip_verify": true}
			job["authorization"] = map[string]any{"credentials_file": "token"}
		}
		jobs = append(jobs, job)
	}
	data, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"}, "scrape_configs": jobs,
	})
	if err != nil {
		panic(err) // maps of text
	}
	return string(data)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// try asks the HTTP API; into, if it is not nil, gets the member data.
func (p *prometheusServer) try(path string, into any) (string, error) {
	response, err := http.Get(p.url + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	if err != nil || into == nil {
		return string(body), err
	}
	return string(body), json.Unmarshal(body, &struct{ Data any }{into})
}

// firing are the labels of the alerts that fire, by name.
func (p *prometheusServer) firing() (map[string][]map[string]string, error) {
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if _, err := p.try("/api/v1/alerts", &data); err != nil {
		return nil, err
	}
	found := map[string][]map[string]string{}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			found[a.Labels["alertname"]] = append(found[a.Labels["alertname"]], a.Labels)
		}
	}
	return found, nil
}

// wantFiring waits until an alert fires whose labels hold want (name, value, name, value).
func (p *prometheusServer) wantFiring(within time.Duration, name string, want ...string) {
	p.t.Helper()
	began := time.Now()
	harness.Eventually(p.t, within, func() error {
		all, err := p.firing()
		if err != nil {
			return err
		}
		for _, l := range all[name] {
			if holds(l, want) {
				return nil
			}
		}
		return fmt.Errorf("%s%v does not fire; what does: %v", name, want, all)
	})
	p.t.Logf("%-26s fires after %s", name, time.Since(began).Round(100*time.Millisecond))
}

func holds(l map[string]string, want []string) bool {
	for i := 0; i+1 < len(want); i += 2 {
		if l[want[i]] != want[i+1] {
			return false
		}
	}
	return true
}

// wantClear waits until none of the alerts fires; of all alerts when none is named.
func (p *prometheusServer) wantClear(within time.Duration, names ...string) {
	p.t.Helper()
	began := time.Now()
	harness.Eventually(p.t, within, func() error {
		all, err := p.firing()
		if err != nil {
			return err
		}
		if len(names) == 0 && len(all) > 0 {
			return fmt.Errorf("these fire: %v", all)
		}
		for _, name := range names {
			if len(all[name]) > 0 {
				return fmt.Errorf("%s still fires: %v", name, all[name])
			}
		}
		return nil
	})
	p.t.Logf("%-26s clear after %s", strings.Join(names, ", "), time.Since(began).Round(100*time.Millisecond))
}

// names are those of all metrics that were scraped so far.
func (p *prometheusServer) names() map[string]bool {
	p.t.Helper()
	var all []string
	if _, err := p.try("/api/v1/label/__name__/values", &all); err != nil {
		p.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range all {
		found[name] = true
	}
	return found
}

// query evaluates an expression now and returns how many series it has.
func (p *prometheusServer) query(expression string) (int, error) {
	var data struct{ Result []json.RawMessage }
	if _, err := p.try("/api/v1/query?query="+url.QueryEscape(expression), &data); err != nil {
		return 0, err
	}
	return len(data.Result), nil
}
