//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/test/harness"
)

// adapterValues is what the example for the chart of prometheus-adapter sets, under the names that the chart has.
type adapterValues struct {
	MetricsRelistInterval string   `json:"metricsRelistInterval"`
	ExtraArguments        []string `json:"extraArguments"`
	Rules                 struct {
		External []map[string]any `json:"external"`
	} `json:"rules"`
}

// startPrometheusAdapter runs a real prometheus-adapter with the example's values, as its chart would, and leads the
// API server's external metrics to it.
func startPrometheusAdapter(c *cluster, prometheus *prometheusServer) {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, "charts/millrace/examples/prometheus-adapter-values.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	var values adapterValues
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		c.t.Fatal(err)
	}
	config, err := yaml.Marshal(map[string]any{"externalRules": values.Rules.External})
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "config.yaml")
	write(c.t, file, string(config))
	c.run("kubectl", "create", "namespace", "monitoring")
	metricsServer{namespace: "monitoring", service: "prometheus-adapter", tool: "prometheus-adapter", args: append([]string{
		"--prometheus-url=" + prometheus.url, "--config=" + file, "--metrics-relist-interval=" + values.MetricsRelistInterval, "--v=4",
	}, values.ExtraArguments...)}.start(c)
}

// operatorMetrics shows what the operator shows of a stage that wants so many workers, and of stages of the same name in
// other namespaces, of which one is a minute and a half old.
type operatorMetrics struct {
	wanted atomic.Int64
	down   atomic.Bool
}

// ServeHTTP implements http.Handler.
func (m *operatorMetrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if m.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	show := func(namespace string, wanted int64, at string) {
		fmt.Fprintf(w, "millrace_stage_wanted_workers{pipeline=\"%s/orders\",stage=\"enrich\"} %d%s\n", namespace, wanted, at)
		fmt.Fprintf(w, "millrace_stage_lag_events{pipeline=\"%s/orders\",stage=\"enrich\"} %d%s\n", namespace, 1000*wanted, at)
	}
	show("default", m.wanted.Load(), "")
	show("other", 9, "")
	show("old", 5, fmt.Sprint(" ", time.Now().Add(-90*time.Second).UnixMilli()))
}

const stageAutoscaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: work, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: work}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: External
    external:
      metric:
        name: millrace_stage_wanted_workers
        selector: {matchLabels: {pipeline: orders, stage: enrich}}
      target: {type: AverageValue, averageValue: "1"}
`

// TestPrometheusAdapter has a HorizontalPodAutoscaler scale a Deployment by what Prometheus has scraped, with the rules
// of the example, and sees what it does when there is nothing to scrape.
func TestPrometheusAdapter(t *testing.T) {
	c := startPlane(t, sleeper())
	m := &operatorMetrics{}
	m.wanted.Store(1)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	// The label namespace is that of the operator's pod, as with a ServiceMonitor.
	write(t, filepath.Join(dir, "prometheus.yaml"), `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: operator
  static_configs: [{targets: ["`+strings.TrimPrefix(server.URL, "http://")+`"], labels: {namespace: millrace-system}}]
`)
	prometheus := c.runPrometheus(dir)
	harness.Eventually(t, 30*time.Second, func() error {
		n, err := prometheus.query("millrace_stage_wanted_workers")
		if err == nil && n != 3 {
			err = fmt.Errorf("%d series are scraped", n)
		}
		return err
	})
	startPrometheusAdapter(c, prometheus)
	c.apply(sleepers("work", 1))
	c.apply(stageAutoscaler)
	c.run("kubectl", "wait", "--for=condition=ScalingActive", "--timeout=90s", "hpa/work")
	c.wantReplicas(time.Minute, "work", 1)
	m.wanted.Store(3)
	c.wantReplicas(time.Minute, "work", 3)
	for namespace, want := range map[string]string{"default": "3k", "other": "9k", "old": "", "none": ""} {
		if got := c.adapted(namespace, "millrace_stage_lag_events"); got != want {
			t.Errorf("the lag in namespace %s is %q, want %q", namespace, got, want)
		}
	}
	m.down.Store(true)
	c.run("kubectl", "wait", "--for=condition=ScalingActive=false", "--timeout=60s", "hpa/work")
	harness.Consistently(t, 10*time.Second, func() error { return c.hasReplicas("work", 3) })
	m.wanted.Store(1)
	m.down.Store(false)
	c.wantReplicas(time.Minute, "work", 1)
}

// adapted asks the API server for an external metric of the stage as the autoscaler does; "" when it has no value.
func (c *cluster) adapted(namespace, metric string) string {
	c.t.Helper()
	out := c.run("kubectl", "get", "--raw", "/apis/external.metrics.k8s.io/v1beta1/namespaces/"+namespace+"/"+metric+"?labelSelector=pipeline%3Dorders%2Cstage%3Denrich")
	var list struct{ Items []struct{ Value string } }
	if err := yaml.Unmarshal([]byte(out), &list); err != nil {
		c.t.Fatal(err)
	}
	switch len(list.Items) {
	case 0:
		return ""
	case 1:
		return list.Items[0].Value
	}
	c.t.Fatalf("%s in namespace %s has several values: %s", metric, namespace, out)
	return ""
}
