package chart_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestUpgradeWithTheValuesOfAnEarlierRelease: `helm upgrade --reuse-values` renders the new templates with the whole
// values.yaml of the release that runs, and takes no default from the new chart. testdata/earlier-values has the
// values.yaml of earlier commits, without comments: add one whenever values.yaml has changed in a release.
func TestUpgradeWithTheValuesOfAnEarlierRelease(t *testing.T) {
	h := newHelm(t)
	earlier, err := filepath.Glob("testdata/earlier-values/*.yaml")
	if err != nil || len(earlier) < 8 {
		t.Fatalf("got %d files in testdata/earlier-values (%v), want those of eight commits", len(earlier), err)
	}
	for _, path := range earlier {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			chart := chartWith(t, read(t, path))
			for name, values := range valueFiles(t) {
				if _, err := h.render(t.Context(), chart, "--values", values); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestEveryValueMayBeMissing takes out each value and each block of values, one at a time, as they are missing after
// --reuse-values from a release that had none of it. The default applies, so everything renders as before. This finds
// a template that forgets to include millrace.values.
func TestEveryValueMayBeMissing(t *testing.T) {
	h := newHelm(t)
	for _, name := range []string{"default", "everything"} {
		file := valueFiles(t)[name]
		t.Run(name, func(t *testing.T) {
			want, err := h.template(t.Context(), "--values", file)
			if err != nil {
				t.Fatal(err)
			}
			var given map[string]any
			readYAML(t, file, &given)
			paths := missing(t, given)
			if name == "default" && len(paths) < 60 {
				t.Fatalf("found %d values, want all of values.yaml", len(paths))
			}
			without := func(paths [][]string) string {
				var values map[string]any
				readYAML(t, chartDir+"/values.yaml", &values)
				for _, path := range paths {
					remove(values, path)
				}
				text, err := yaml.Marshal(values)
				if err != nil {
					t.Fatal(err)
				}
				got, err := h.render(t.Context(), chartWith(t, string(text)), "--values", file)
				if err != nil {
					return err.Error()
				}
				return gocmp.Diff(want, got)
			}
			// Those of one depth do not hide one another.
			slices.SortFunc(paths, func(a, b []string) int { return cmp.Or(len(a)-len(b), slices.Compare(a, b)) })
			for len(paths) > 0 {
				n := 1
				for n < min(8, len(paths)) && len(paths[n]) == len(paths[0]) {
					n++
				}
				few := paths[:n]
				paths = paths[n:]
				if without(few) == "" {
					continue
				}
				for _, path := range few { // which of them is it?
					if diff := without([][]string{path}); diff != "" {
						t.Errorf("without %s (-with +without):\n%s", strings.Join(path, "."), diff)
					}
				}
			}
		})
	}
}

// TestNullTakesADefaultAway: in Helm, null takes a value out. In what belongs to the user it still does.
func TestNullTakesADefaultAway(t *testing.T) {
	h := newHelm(t)
	for name, c := range map[string]struct{ set, gone string }{
		"a limit":         {"operator.resources.limits.memory=null", "512Mi"},
		"all resources":   {"operator.resources=null", "resources:"},
		"the constraints": {"operator.topologySpreadConstraints=null", "topologySpreadConstraints:"},
	} {
		t.Run(name, func(t *testing.T) {
			const only = "templates/operator.yaml"
			before, err := h.template(t.Context(), "--show-only", only)
			if err != nil || !strings.Contains(before, c.gone) {
				t.Fatalf("%v: %s is not there by default", err, c.gone)
			}
			after, err := h.template(t.Context(), "--show-only", only, "--set", c.set)
			if err != nil || strings.Contains(after, c.gone) {
				t.Errorf("%s: %v: %s is still there", c.set, err, c.gone)
			}
		})
	}
}

// chartWith is a copy of the chart with other defaults.
func chartWith(t *testing.T, values string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "values.yaml"), []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// missing are the paths of values.yaml that given does not set, except those that null may take away.
func missing(t *testing.T, given map[string]any) [][]string {
	t.Helper()
	var values map[string]any
	readYAML(t, chartDir+"/values.yaml", &values)
	var paths [][]string
	var walk func(path []string, values, given map[string]any)
	walk = func(path []string, values, given map[string]any) {
		for name, value := range values {
			below := append(append([]string{}, path...), name)
			block, isBlock := value.(map[string]any)
			set, _ := given[name].(map[string]any)
			_, isGiven := given[name]
			if isGiven && !isBlock || name == "resources" { // the user's own: what is left out there stays out
				continue
			}
			if isGiven { // in part: its values, one by one
				walk(below, block, set)
				continue
			}
			if _, isList := value.([]any); isList || name == "labels" && len(path) > 0 {
				continue
			}
			paths = append(paths, below)
			if isBlock {
				walk(below, block, set)
			}
		}
	}
	walk(nil, values, given)
	sort.Slice(paths, func(i, j int) bool { return strings.Join(paths[i], ".") < strings.Join(paths[j], ".") })
	return paths
}

func remove(values map[string]any, path []string) {
	for _, name := range path[:len(path)-1] {
		values, _ = values[name].(map[string]any)
	}
	delete(values, path[len(path)-1])
}
