package rig

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"millrace.dev/millrace/test/harness/kube"
)

// Build builds the millrace binary into a folder and returns its path. Tests that need the
// race detector use harness.BuildBinary.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := kube.ModuleRoot()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(dir, "millrace"))
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build millrace: %w\n%s", err, output)
	}
	return path, nil
}
