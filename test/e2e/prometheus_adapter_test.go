//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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

// TestPrometheusAdapter has HorizontalPodAutoscalers scale the workers of a stage by what a real Prometheus has scraped
// from the operator, under load, and counts every event; then there is nothing to scrape.
func TestPrometheusAdapter(t *testing.T) {
	together(t)
	c := newCluster(t, "autoscaling.backend=prometheus", "autoscaling.scaleDownWindow=6s", "collectors.kubernetes.enabled=true")
	c.apply(scaledPipeline("adapted", "min: 1, max: 4, targetLag: 1500"))
	harness.Eventually(t, 90*time.Second, func() error { return c.ready("pipelines.millrace.dev", "adapted") })
	prometheus := c.startPrometheus(c.monitors("nats.url="+c.url(), "collectors.kubernetes.enabled=true"))
	harness.Eventually(t, 30*time.Second, func() error {
		n, err := prometheus.query("millrace_autoscaling_lag_events")
		if err == nil && n != 1 {
			err = fmt.Errorf("%d series are scraped", n)
		}
		return err
	})
	startPrometheusAdapter(c, prometheus)
	c.run("kubectl", "wait", "--for=condition=ScalingActive", "--timeout=90s", "hpa/adapted-slow")
	c.run("kubectl", "wait", "--for=condition=AutoscalingReady", "--timeout=60s", "stages.millrace.dev/adapted-slow")

	const events = 25_000
	if err := publishNumbered(t.Context(), c.js, "adapted.raw.load", events, 50); err != nil {
		t.Fatal(err)
	}
	most := c.most(4*time.Minute, "adapted-slow", 1)
	t.Logf("from 1 to %d to 1 workers", most)
	if most < 3 { // the lag of few frames of different size is an estimate
		t.Errorf("at most %d workers, want 3 or 4", most)
	}
	c.balance(t, "ADAPTED_DONE", "adapted.slow.>", events)
	if got := c.adapted("default"); got != "0" {
		t.Errorf("the lag is %q, want 0", got)
	}
	if got := c.adapted("millrace-system"); got != "" {
		t.Errorf("the lag of a stage of another namespace is %q, want none", got)
	}

	// Nobody measures: the number stays, and status says so once there is an operator again.
	c.run("kubectl", "scale", "deployment", "millrace", "-n", "millrace-system", "--replicas=0")
	c.run("kubectl", "wait", "--for=condition=ScalingActive=false", "--timeout=90s", "hpa/adapted-slow")
	harness.Consistently(t, 5*time.Second, func() error { return c.hasReplicas("adapted-slow", 1) })
}

// adapted asks the API server for the lag as the autoscaler does; "" when it has no value.
func (c *cluster) adapted(namespace string) string {
	c.t.Helper()
	out := c.run("kubectl", "get", "--raw", "/apis/external.metrics.k8s.io/v1beta1/namespaces/"+namespace+"/millrace_autoscaling_lag_events?labelSelector=deployment%3Dadapted-slow")
	var list struct{ Items []struct{ Value string } }
	if err := yaml.Unmarshal([]byte(out), &list); err != nil {
		c.t.Fatal(err)
	}
	switch len(list.Items) {
	case 0:
		return ""
	case 1:
		return list.Items[0].Value
	default:
		c.t.Fatalf("more than one value: %s", out)
		return ""
	}
}
