package chart_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// generatedDefinitions are the files that controller-gen wrote.
func generatedDefinitions(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(root + "/config/crd/bases/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no definitions in config/crd/bases (%v); run make generate", err)
	}
	return paths
}

// TestCopies: the chart ships the generated definitions, rights and policy, and its own values as a file, byte for byte.
func TestCopies(t *testing.T) {
	want := map[string]string{
		"rbac/role.yaml":             read(t, root+"/config/rbac/role.yaml"),
		"rbac/admission_policy.yaml": read(t, root+"/config/rbac/admission_policy.yaml"),
		"files/values.yaml":          read(t, chartDir+"/values.yaml"),
	}
	for _, path := range generatedDefinitions(t) {
		want["crds/"+filepath.Base(path)] = read(t, path)
	}
	got := map[string]string{}
	for _, pattern := range []string{"crds/*", "rbac/*", "values.yaml"} {
		paths, err := filepath.Glob(filepath.Join(chartDir, "files", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			got[filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)] = read(t, path)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run hack/chart/sync.sh; charts/millrace/files differs (-config +chart):\n%s", diff)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
