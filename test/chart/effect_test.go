package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestEveryValueHasAnEffect finds values that are documented and do nothing. It renders
// testdata/values/everything.yaml, where each value differs from its default, and again with one
// value back at its default: what is rendered must differ.
func TestEveryValueHasAnEffect(t *testing.T) {
	h := newHelm(t)
	var defaults, everything map[string]any
	readYAML(t, chartDir+"/values.yaml", &defaults)
	readYAML(t, "testdata/values/everything.yaml", &everything)

	// Off is the other value of these, and would hide what is below them; a tag is not read
	// beside a digest.
	alone := map[string]any{
		"crds.enabled": false, "metrics.service.enabled": false, "image.tag": "v9", "workers.enrich.enabled": false,
		"admissionWebhook.enabled": false,
		"autoscaling.backend":      "direct", "autoscaling.external.apiService.enabled": false, "operator.podDisruptionBudget.enabled": false,
	}
	render := func(t *testing.T, values map[string]any) string {
		t.Helper()
		content, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "values.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		rendered, err := h.template(t.Context(), "--values", path)
		if err != nil {
			t.Fatal(err)
		}
		return rendered
	}
	all, plain := render(t, everything), render(t, nil)
	for _, path := range leaves("", defaults) {
		t.Run(path, func(t *testing.T) {
			keys := strings.Split(path, ".")
			if other, ok := alone[path]; ok {
				if render(t, with(nil, keys, other)) == plain {
					t.Errorf("%s: %v renders the same as the default", path, other)
				}
				return
			}
			if path == "operator.leaderElect" { // more than one replica needs it
				one := map[string]any{"replicas": 1}
				if render(t, map[string]any{"operator": one}) == render(t, map[string]any{"operator": with(one, []string{"leaderElect"}, false)}) {
					t.Error("has no effect")
				}
				return
			}
			standard, own := at(defaults, keys), at(everything, keys)
			if own == nil || reflect.DeepEqual(standard, own) {
				t.Fatalf("testdata/values/everything.yaml does not set %s to another value", path)
			}
			// The collector's rendering hangs on this one.
			if path == "nats.url" {
				if render(t, map[string]any{"nats": map[string]any{"url": own}}) == plain {
					t.Error("has no effect")
				}
				return
			}
			if path == "collectors.kubernetes.credentialsSecret.name" { // required beside the operator's
				operator := []string{"nats", "credentialsSecret", "name"}
				if values := with(everything, operator, ""); render(t, with(values, keys, standard)) == render(t, values) {
					t.Error("has no effect")
				}
				return
			}
			if render(t, with(everything, keys, standard)) == all {
				t.Errorf("%s: %v renders the same as %v", path, standard, own)
			}
		})
	}
}

// leaves are the paths of what a user sets as one: scalars, lists, and maps of the user's or
// Kubernetes' own making.
func leaves(path string, value any) []string {
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 || strings.HasSuffix(path, ".resources") {
		return []string{strings.TrimPrefix(path, ".")}
	}
	var found []string
	for name, child := range object {
		found = append(found, leaves(path+"."+name, child)...)
	}
	return found
}

func at(values map[string]any, keys []string) any {
	if len(keys) == 1 {
		return values[keys[0]]
	}
	child, _ := values[keys[0]].(map[string]any)
	return at(child, keys[1:])
}

// with is a copy of the values with one replaced.
func with(values map[string]any, keys []string, value any) map[string]any {
	replaced := map[string]any{}
	for name, child := range values {
		replaced[name] = child
	}
	if len(keys) == 1 {
		replaced[keys[0]] = value
		return replaced
	}
	child, _ := values[keys[0]].(map[string]any)
	replaced[keys[0]] = with(child, keys[1:], value)
	return replaced
}
