package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	rulesFile     = chartDir + "/files/rules/millrace.yaml"
	dashboardFile = chartDir + "/files/dashboards/millrace.json"
)

func monitored(t *testing.T, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	rendered, err := newHelm(t).template(t.Context(), append([]string{
		"--set", "crds.enabled=false", "--set",
		"monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboard.enabled=true",
	}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, rendered)
}

// decode reads an object as strictly as the Prometheus operator's own types allow.
func decode(t *testing.T, all map[string]*unstructured.Unstructured, key string, into any) {
	t.Helper()
	if all[key] == nil {
		t.Fatalf("no %s is rendered", key)
	}
	data, err := json.Marshal(all[key].Object)
	if err == nil {
		err = yaml.UnmarshalStrict(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
}

// TestRulesAreThoseOfTheFile: by default the PrometheusRule says what the file says.
func TestRulesAreThoseOfTheFile(t *testing.T) {
	var rendered monitoring.PrometheusRule
	decode(t, monitored(t), "PrometheusRule mill/demo-millrace", &rendered)
	var file monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(file, rendered.Spec); diff != "" {
		t.Errorf("-file +rendered:\n%s", diff)
	}
}

func TestRulesCanBeChanged(t *testing.T) {
	var rule monitoring.PrometheusRule
	decode(t, monitored(t, "--set", "monitoring.prometheusRule.window=10m", "--set", "monitoring.prometheusRule.for.MillraceLagGrowing=30m",
		"--set", "monitoring.prometheusRule.disabled={MillraceDeadLetters}", "--set", "monitoring.prometheusRule.alertLabels.severity=page",
		"--set", "monitoring.prometheusRule.runbookURL=https://example.com/r/"), "PrometheusRule mill/demo-millrace", &rule)
	seen := false
	for _, r := range rule.Spec.Groups[0].Rules {
		if strings.Contains(r.Expr.String(), "[5m]") {
			t.Errorf("%s has the old window: %s", r.Alert, r.Expr.String())
		}
		if r.Labels["severity"] != "page" || r.Annotations["runbook_url"] != "https://example.com/r/"+r.Alert+".md" {
			t.Errorf("%s: labels %v, runbook %s", r.Alert, r.Labels, r.Annotations["runbook_url"])
		}
		switch r.Alert {
		case "MillraceDeadLetters":
			t.Error("MillraceDeadLetters is not left out")
		case "MillraceLagGrowing":
			seen = *r.For == "30m" && strings.Contains(r.Expr.String(), "[10m]")
		}
	}
	if !seen {
		t.Error("MillraceLagGrowing is not there with a window of 10m for 30m")
	}
}

// TestEveryAlertHasARunbook, with the same headings in the same order, and a row in the docs; and the other way.
func TestEveryAlertHasARunbook(t *testing.T) {
	var file monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	docs := read(t, root+"/docs/observability.md")
	known := map[string]bool{}
	for _, r := range file.Groups[0].Rules {
		known[r.Alert] = true
		if want := "docs/runbooks/" + r.Alert + ".md"; r.Annotations["runbook_url"] != want || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v, want a summary, a description and runbook_url %s", r.Alert, r.Annotations, want)
		}
		if r.For == nil || r.Labels["severity"] == "" {
			t.Errorf("%s: for and labels.severity are needed: the chart changes them", r.Alert)
		} else if row := "| [" + r.Alert + "](runbooks/" + r.Alert + ".md) | " + r.Labels["severity"] + " | " + strings.Replace(string(*r.For), "0s", "at once", 1) + " |"; !strings.Contains(docs, row) {
			t.Errorf("docs/observability.md has no row %s", row)
		}
		headings := regexp.MustCompile(`(?m)^#+ .*$`).FindAllString(withoutCode(read(t, root+"/docs/runbooks/"+r.Alert+".md")), -1)
		if diff := cmp.Diff([]string{"# " + r.Alert, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"}, headings); diff != "" {
			t.Errorf("docs/runbooks/%s.md (-want +got):\n%s", r.Alert, diff)
		}
	}
	pages, err := filepath.Glob(root + "/docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); !known[name] {
			t.Errorf("%s: there is no such alert", page)
		}
		for _, match := range regexp.MustCompile(`\]\(([^)#:]+)[^)]*\)`).FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s: link to %s: %v", page, match[1], err)
			}
		}
	}
}

// withoutCode leaves out code blocks, where # begins a comment.
func withoutCode(text string) string {
	return regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
}

func TestMonitors(t *testing.T) {
	all := monitored(t, "--set", "monitoring.podMonitor.namespaces={shop}", "--set", "monitoring.labels.release=prometheus", "--set", "monitoring.interval=15s")
	var service monitoring.ServiceMonitor
	decode(t, all, "ServiceMonitor mill/demo-millrace", &service)
	var pod monitoring.PodMonitor
	decode(t, all, "PodMonitor mill/demo-millrace-workers", &pod)
	if diff := cmp.Diff([]string{"shop"}, pod.Spec.NamespaceSelector.MatchNames); diff != "" || pod.Spec.NamespaceSelector.Any {
		t.Errorf("namespaces of the PodMonitor (-want +got):\n%s", diff)
	}
	if service.Labels["release"] != "prometheus" || pod.Labels["release"] != "prometheus" {
		t.Errorf("labels %v and %v", service.Labels, pod.Labels)
	}
	if service.Spec.Endpoints[0].Interval != "15s" || pod.Spec.PodMetricsEndpoints[0].Interval != "15s" {
		t.Errorf("intervals %s and %s", service.Spec.Endpoints[0].Interval, pod.Spec.PodMetricsEndpoints[0].Interval)
	}
}

// TestTheOperatorIsScrapedAsItServes: with TLS and a token, unless that is off; the collector serves openly.
func TestTheOperatorIsScrapedAsItServes(t *testing.T) {
	for name, test := range map[string]struct {
		set                []string
		scheme, serverName string
		token, verifies    bool
	}{
		"by default":           {nil, "https", "", true, false},
		"with its certificate": {[]string{"--set", "metrics.certificateSecret=tls"}, "https", "demo-millrace-metrics.mill.svc", true, true},
		"openly":               {[]string{"--set", "metrics.authentication=false"}, "", "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			all := monitored(t, append(test.set, "--set", "collectors.kubernetes.enabled=true,nats.url=nats://nats:4222")...)
			var operator, collector monitoring.ServiceMonitor
			decode(t, all, "ServiceMonitor mill/demo-millrace", &operator)
			decode(t, all, "ServiceMonitor mill/demo-millrace-collector", &collector)
			e, serverName, skips := operator.Spec.Endpoints[0], "", false
			if e.TLSConfig != nil {
				if e.TLSConfig.ServerName != nil {
					serverName = *e.TLSConfig.ServerName
				}
				skips = e.TLSConfig.InsecureSkipVerify != nil && *e.TLSConfig.InsecureSkipVerify
			}
			if scheme(e) != test.scheme || serverName != test.serverName || (tokenFile(e) != "") != test.token || skips == test.verifies {
				t.Errorf("got scheme %q, server %q, token %q, skips verification %t, want %+v", scheme(e), serverName, tokenFile(e), skips, test)
			}
			if e := collector.Spec.Endpoints[0]; scheme(e) != "" || tokenFile(e) != "" {
				t.Errorf("the collector is scraped by %s with token %q", scheme(e), tokenFile(e))
			}
			if got := all["ClusterRole /mill:demo-millrace-metrics-reader"] != nil; got != test.token {
				t.Errorf("has a ClusterRole for Prometheus: %t, want %t", got, test.token)
			}
		})
	}
}

// tokenFile of an endpoint: what is to replace it cannot name the token of Prometheus itself.
func tokenFile(e monitoring.Endpoint) string { return e.BearerTokenFile } //nolint:staticcheck // see above

// scheme of an endpoint; empty when it has none.
func scheme(e monitoring.Endpoint) string {
	if e.Scheme == nil {
		return ""
	}
	return string(*e.Scheme)
}

// TestDashboard: it reaches the ConfigMap byte for byte, where the sidecar of Grafana finds it, and every panel has a
// place, a title and a data source.
func TestDashboard(t *testing.T) {
	object := monitored(t)["ConfigMap mill/demo-millrace-dashboard"]
	if object == nil || object.GetLabels()["grafana_dashboard"] != "1" {
		t.Fatalf("the ConfigMap is %v", object)
	}
	got, _, _ := unstructured.NestedString(object.Object, "data", "millrace.json")
	if diff := cmp.Diff(strings.TrimSpace(read(t, dashboardFile)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("-file +rendered:\n%s", diff)
	}
	var d struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID         int
			Type       string
			Title      string
			Datasource map[string]string
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct{ Expr string }
		}
	}
	readJSON(t, dashboardFile, &d)
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: the id is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource["uid"] != "${datasource}") {
			t.Errorf("panel %q: %d queries to %v", p.Title, len(p.Targets), p.Datasource)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if d.UID != "millrace" || len(ids) < 20 {
		t.Errorf("dashboard %q has %d panels", d.UID, len(ids))
	}
}
