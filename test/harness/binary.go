package harness

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"millrace.dev/millrace/test/harness/kube"
)

// BuildOptions of BuildBinary. The zero value builds the product.
type BuildOptions struct {
	// Package to build, relative to the root of the module. Default ".":
	// the millrace binary.
	Package string
	// Race builds with the race detector.
	Race bool
}

// BuildBinary builds a command of this module and returns the path of a
// binary that stays as it is while the test runs. The build lands in the
// cache and is a matter of a fraction of a second when nothing has changed,
// so each test may call it.
func BuildBinary(t testing.TB, options BuildOptions) string {
	t.Helper()
	if options.Package == "" {
		options.Package = "."
	}
	path, err := build(options, t.TempDir())
	if err != nil {
		t.Fatalf("build %s: %v", options.Package, err)
	}
	return path
}

// build keeps one binary for each checkout, package and kind, and hands out
// links: go build replaces the file, it does not write into it.
func build(options BuildOptions, into string) (string, error) {
	root, err := kube.ModuleRoot()
	if err != nil {
		return "", err
	}
	cache, err := kube.CacheRoot()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s %s %t", root, options.Package, options.Race))
	name := filepath.Base(filepath.Join(root, options.Package))
	if options.Package == "." {
		name = "millrace"
	}
	built := filepath.Join(cache, "bin", fmt.Sprintf("%x", key[:6]), name)
	args := []string{"build", "-o", built}
	if options.Race {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, "./"+filepath.ToSlash(options.Package))...)
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	path := filepath.Join(into, name)
	if err := os.Link(built, path); err == nil {
		return path, nil
	}
	return path, copyFile(built, path)
}

// copyFile serves where the cache is on another file system.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
