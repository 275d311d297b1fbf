package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const decision = "docs/adr/0003-dependencies.md"

// TestDependenciesHaveReasons: each module that go.mod requires directly has a row that says why,
// and each row has a module.
func TestDependenciesHaveReasons(t *testing.T) {
	table := rows(t)
	used := map[string]bool{}
	for _, module := range required(t) {
		if _, ok := table[module]; !ok {
			t.Errorf("go.mod requires %s, but %s does not say why", module, decision)
		}
		used[module] = true
	}
	if len(used) == 0 {
		t.Error("found no requirement in go.mod")
	}
	for module := range table {
		if !used[module] {
			t.Errorf("%s has a row for %s, which go.mod does not require directly", decision, module)
		}
	}
}

// required are the direct requirements of go.mod.
func required(t *testing.T) []string {
	t.Helper()
	var modules []string
	for _, match := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(fromRoot(t, "go.mod"), -1) {
		modules = append(modules, match[1])
	}
	return modules
}

// rows are the modules in the first column of the decision's table, separated by commas there.
func rows(t *testing.T) map[string]bool {
	t.Helper()
	modules := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(fromRoot(t, decision), -1) {
		for _, name := range strings.Split(match[1], ",") {
			modules[strings.Trim(strings.TrimSpace(name), "`")] = true
		}
	}
	return modules
}

func fromRoot(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
