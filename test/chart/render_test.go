package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millrace.dev/millrace/test/golden"
)

// valueFiles are sets of values that people use, in testdata/values.
func valueFiles(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no values in testdata/values (%v)", err)
	}
	files := map[string]string{}
	for _, path := range paths {
		files[strings.TrimSuffix(filepath.Base(path), ".yaml")] = path
	}
	return files
}

// TestRender renders each set of values against a golden file, without what is generated from code:
// the definitions and the operator's rules have tests of their own.
func TestRender(t *testing.T) {
	h := newHelm(t)
	for name, values := range valueFiles(t) {
		t.Run(name, func(t *testing.T) {
			rendered, err := h.template(t.Context(), "--values", values, "--set", "crds.enabled=false")
			if err != nil {
				t.Fatal(err)
			}
			objects(t, rendered)
			golden.Check(t, filepath.Join("testdata", "golden", name+".yaml"), withoutDashboard(withoutGeneratedRules(t, rendered)))
		})
	}
}

func withoutGeneratedRules(t *testing.T, rendered string) string {
	t.Helper()
	documents := strings.Split(rendered, "\n---\n")
	found := 0
	for i, document := range documents {
		head, _, ok := strings.Cut(document, "\nrules:\n")
		if ok && strings.Contains(head, "/operator-rbac.yaml\n") && !strings.Contains(head, "-leader-election\n") {
			documents[i] = head + "\nrules: [] # those of config/rbac/role.yaml\n"
			found++
		}
	}
	if found == 0 {
		t.Error("found no role of the operator")
	}
	return strings.Join(documents, "\n---\n")
}

// withoutDashboard leaves the dashboard's own text out: a file that has its own test.
func withoutDashboard(rendered string) string {
	documents := strings.Split(rendered, "\n---\n")
	for i, document := range documents {
		if head, _, ok := strings.Cut(document, "\n  millrace.json: |-\n"); ok {
			documents[i] = head + "\n  millrace.json: \"\" # files/dashboards/millrace.json"
		}
	}
	return strings.Join(documents, "\n---\n")
}

func TestLint(t *testing.T) {
	h := newHelm(t)
	for name, values := range valueFiles(t) {
		t.Run(name, func(t *testing.T) {
			out := h.must(t, "lint", "--strict", chartDir, "--values", values)
			if !strings.Contains(out, "1 chart(s) linted, 0 chart(s) failed") {
				t.Errorf("got:\n%s", out)
			}
		})
	}
}

// TestDefinitions looks at what the template adds to the generated definitions.
func TestDefinitions(t *testing.T) {
	h := newHelm(t)
	cases := map[string]struct {
		args []string
		want int
		keep string
	}{
		"kept by default":   {nil, 2, "keep"},
		"removed if wanted": {[]string{"--set", "crds.keep=false"}, 2, ""},
		"left out":          {[]string{"--set", "crds.enabled=false"}, 0, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rendered, err := h.template(t.Context(), c.args...)
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for key, object := range objects(t, rendered) {
				if object.GetKind() != "CustomResourceDefinition" {
					continue
				}
				got++
				if keep := object.GetAnnotations()["helm.sh/resource-policy"]; keep != c.keep {
					t.Errorf("%s: got resource policy %q, want %q", key, keep, c.keep)
				}
			}
			if got != c.want {
				t.Errorf("got %d definitions, want %d", got, c.want)
			}
		})
	}
}

// TestDefinitionSpecs shows that rendering leaves the schema of a definition as it was generated:
// an expression in braces or a number in quotes would be lost in a template.
func TestDefinitionSpecs(t *testing.T) {
	rendered, err := newHelm(t).template(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, rendered)
	for _, path := range generatedDefinitions(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range objects(t, string(content)) {
			if got[key] == nil {
				t.Errorf("%s is not rendered", key)
				continue
			}
			compareSpecs(t, key, want, got[key])
		}
	}
}

func compareSpecs(t *testing.T, key string, want, got *unstructured.Unstructured) {
	t.Helper()
	if diff := cmp.Diff(want.Object["spec"], got.Object["spec"]); diff != "" {
		t.Errorf("%s: spec (-generated +rendered):\n%s", key, diff)
	}
}

// TestForeignAPIServiceIsLeftAlone: what is rendered without a cluster cannot see whose the APIService is, and leaves it
// out when it is told to. The rest of external metrics stays, since whoever has it may go.
func TestForeignAPIServiceIsLeftAlone(t *testing.T) {
	h := newHelm(t)
	for name, test := range map[string]struct {
		args []string
		want bool
	}{
		"by default": {nil, true},
		"left out":   {[]string{"--set", "autoscaling.external.apiService.enabled=false"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			rendered, err := h.template(t.Context(), test.args...)
			if err != nil {
				t.Fatal(err)
			}
			all := objects(t, rendered)
			if got := all["APIService /v1beta1.external.metrics.k8s.io"] != nil; got != test.want {
				t.Errorf("renders the APIService: %t, want %t", got, test.want)
			}
			if all["Service mill/demo-millrace-external-metrics"] == nil || !strings.Contains(rendered, "--autoscaling-backend=external") {
				t.Error("renders no external metrics")
			}
		})
	}
}
