package arch_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOneGoRelease: every module of the project and the Dockerfile name the Go release of go.mod,
// which is the one that is checked for known holes.
func TestOneGoRelease(t *testing.T) {
	toolchain := regexp.MustCompile(`(?m)^toolchain (go\S+)$`)
	match := toolchain.FindStringSubmatch(fromRoot(t, "go.mod"))
	if match == nil {
		t.Fatal("go.mod names no toolchain")
	}
	want := match[0]
	for _, module := range modules(t) {
		if got := toolchain.FindString(fromRoot(t, module)); got != want {
			t.Errorf("%s has %q, want %q as go.mod has it", module, got, want)
		}
	}
	image := "ARG GO_IMAGE=golang:" + strings.TrimPrefix(match[1], "go") + "\n"
	if !strings.Contains(fromRoot(t, "Dockerfile"), image) {
		t.Errorf("the Dockerfile builds with another Go release than go.mod names: want %q", image)
	}
}

// modules are the paths of all go.mod files below the root.
func modules(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "go.mod" {
			return err
		}
		rel, err := filepath.Rel(root, path)
		found = append(found, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
