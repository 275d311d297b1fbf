package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// chartWithTwoCollectors is the chart as it will be with a second collector, which has the same settings.
func chartWithTwoCollectors(t *testing.T) string {
	t.Helper()
	var values, schema map[string]any
	readYAML(t, chartDir+"/values.yaml", &values)
	readJSON(t, chartDir+"/values.schema.json", &schema)
	collectors := at(values, []string{"collectors"}).(map[string]any)
	collectors["second"] = with(collectors["kubernetes"].(map[string]any), []string{"subject"}, "events.raw.second")
	known := at(schema, []string{"properties", "collectors", "properties"}).(map[string]any)
	known["second"] = known["kubernetes"]
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	dir := chartWith(t, string(text))
	encoded, err := json.Marshal(schema)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "values.schema.json"), encoded, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "files", "values.yaml"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCollectorsShareNoSelector: whatever selects the pods of a collector selects those of no other one, and not the operator's. One monitor
// finds the Services of all collectors.
func TestCollectorsShareNoSelector(t *testing.T) {
	rendered, err := newHelm(t).render(t.Context(), chartWithTwoCollectors(t), "--set", "nats.url=nats://n:4222", "--set", "crds.enabled=false",
		"--set", "collectors.kubernetes.enabled=true,collectors.second.enabled=true,networkPolicy.enabled=true,monitoring.serviceMonitor.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, rendered)
	pods := map[string]labels.Set{}
	for _, object := range all {
		if object.GetKind() == "Deployment" {
			set, _, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
			pods[object.GetName()] = set
		}
	}
	selectors := map[string][]string{
		"Deployment":    {"spec", "selector", "matchLabels"},
		"Service":       {"spec", "selector"},
		"NetworkPolicy": {"spec", "podSelector", "matchLabels"},
	}
	got := map[string][]string{}
	for key, object := range all {
		path, ok := selectors[object.GetKind()]
		if !ok {
			continue
		}
		selector, _, _ := unstructured.NestedStringMap(object.Object, path...)
		for pod, set := range pods {
			if labels.SelectorFromSet(selector).Matches(set) {
				got[key] = append(got[key], pod)
			}
		}
	}
	want := map[string][]string{}
	for _, kind := range []string{"kubernetes", "second"} {
		pod := "demo-millrace-collector-" + kind
		for _, key := range []string{"Deployment mill/" + pod, "Service mill/" + pod + "-metrics", "NetworkPolicy mill/" + pod} {
			want[key] = []string{pod}
		}
		if all["ServiceAccount mill/"+pod] == nil {
			t.Errorf("collector %s has no ServiceAccount of its own", kind)
		}
	}
	for key := range got {
		if !strings.Contains(key, "collector") {
			want[key] = []string{"demo-millrace"}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("which pods an object selects (-want +got):\n%s", diff)
	}
	want = map[string][]string{
		"demo-millrace":           {"demo-millrace-metrics"},
		"demo-millrace-collector": {"demo-millrace-collector-kubernetes-metrics", "demo-millrace-collector-second-metrics"},
	}
	if diff := cmp.Diff(want, servicesOfMonitors(all)); diff != "" {
		t.Errorf("which Services a ServiceMonitor selects (-want +got):\n%s", diff)
	}
	// What the collector of Kubernetes may read is for that one.
	if all["ClusterRole /mill:demo-millrace-collector-kubernetes"] == nil || all["ClusterRole /mill:demo-millrace-collector-second"] != nil {
		t.Error("the right to read the cluster belongs to the collector of Kubernetes alone")
	}
}

// servicesOfMonitors are the names of the Services that each ServiceMonitor selects and that have its port, in order.
func servicesOfMonitors(all map[string]*unstructured.Unstructured) map[string][]string {
	got := map[string][]string{}
	for _, monitor := range all {
		if monitor.GetKind() != "ServiceMonitor" {
			continue
		}
		selector, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
		for _, service := range all {
			if service.GetKind() == "Service" && hasPort(service, "metrics") && labels.SelectorFromSet(selector).Matches(labels.Set(service.GetLabels())) {
				got[monitor.GetName()] = append(got[monitor.GetName()], service.GetName())
			}
		}
		slices.Sort(got[monitor.GetName()])
	}
	return got
}

func hasPort(service *unstructured.Unstructured, name string) bool {
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	return slices.ContainsFunc(ports, func(p any) bool { return p.(map[string]any)["name"] == name })
}

// TestUpgradeReplacesTheCollector: the selector of a Deployment is immutable, and that of earlier releases would select the pods of
// every collector. So the Deployment has another name than theirs.
func TestUpgradeReplacesTheCollector(t *testing.T) {
	rendered, err := newHelm(t).template(t.Context(), "--set", "nats.url=nats://n:4222,collectors.kubernetes.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, rendered)
	if all["Deployment mill/demo-millrace-collector"] != nil || all["Deployment mill/demo-millrace-collector-kubernetes"] == nil {
		t.Error("want the Deployment demo-millrace-collector-kubernetes, and none of the earlier name")
	}
}

// TestUserOfTheCollector: it has its own, whichever the operator has; where the server asks nobody who they are, it needs none.
func TestUserOfTheCollector(t *testing.T) {
	for name, tc := range map[string]struct {
		set  string
		want []string
	}{
		"nobody has one":        {"", nil},
		"both have one":         {"nats.credentialsSecret.name=operator,collectors.kubernetes.credentialsSecret.name=own", []string{"own"}},
		"it alone has one":      {"collectors.kubernetes.credentialsSecret.name=own", []string{"own"}},
		"of another type":       {"nats.credentialsSecret.name=operator,nats.credentialsSecret.type=Password,collectors.kubernetes.credentialsSecret.name=own", []string{"own"}},
		"certificates of a CA":  {"nats.tls.ca.name=trust", []string{"trust"}},
		"a client certificate":  {"nats.tls.clientSecret.name=client", []string{"client"}},
		"it is not to run here": {"nats.credentialsSecret.name=operator,collectors.kubernetes.enabled=false", nil},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"--set", "nats.url=nats://n:4222,collectors.kubernetes.enabled=true"}
			if tc.set != "" {
				args = append(args, "--set", tc.set)
			}
			rendered, err := newHelm(t).template(t.Context(), args...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if collector := objects(t, rendered)["Deployment mill/demo-millrace-collector-kubernetes"]; collector != nil {
				volumes, _, _ := unstructured.NestedSlice(collector.Object, "spec", "template", "spec", "volumes")
				for _, volume := range volumes {
					sources, _, _ := unstructured.NestedSlice(volume.(map[string]any), "projected", "sources")
					for _, source := range sources {
						secret, _, _ := unstructured.NestedString(source.(map[string]any), "secret", "name")
						got = append(got, secret)
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Secrets that the collector mounts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNamesOfServicesFit: a Service has a name of 63 letters at most, however long that of the release is.
func TestNamesOfServicesFit(t *testing.T) {
	rendered, err := newHelm(t).template(t.Context(), "--set", "nats.url=nats://n:4222,collectors.kubernetes.enabled=true", "--set", "fullnameOverride="+strings.Repeat("a", 33)+"-b"+strings.Repeat("c", 15))
	if err != nil {
		t.Fatal(err)
	}
	want := "Service mill/" + strings.Repeat("a", 33) + "-collector-kubernetes-metrics"
	if objects(t, rendered)[want] == nil {
		t.Errorf("there is no %s", want)
	}
}

// TestSettingsOfEarlierCollector: those that an upgrade brings along do no harm while they are off, and say where they belong otherwise.
func TestSettingsOfEarlierCollector(t *testing.T) {
	h := newHelm(t)
	earlier := []string{"--set", "nats.url=nats://n:4222", "--set", "collector.kubernetes.subject=events.raw.old", "--set"}
	want, err := h.template(t.Context(), "--set", "nats.url=nats://n:4222")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.template(t.Context(), append(earlier, "collector.kubernetes.enabled=false")...)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("off: %v (-without +with)\n%s", err, diff)
	}
	_, err = h.template(t.Context(), append(earlier, "collector.kubernetes.enabled=true")...)
	if err == nil || !strings.Contains(err.Error(), "collector.kubernetes is collectors.kubernetes now: write its settings there") {
		t.Errorf("on: got %v, want where they belong", err)
	}
}
