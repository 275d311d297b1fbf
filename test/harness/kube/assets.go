package kube

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
)

// ErrMissingBinary means that a binary is not in the cache. Its message names
// the command that builds it.
var ErrMissingBinary = errors.New("binary not built: run `make controlplane` (about 8 minutes, once)")

var kubernetesVersion = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v[0-9.]+)`)

// Find returns the path of a binary: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubectl or nats-server. It looks
// into the folder named by KUBEBUILDER_ASSETS, else into the cache. The error
// wraps ErrMissingBinary when the file is not there.
func Find(name string) (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		var err error
		if dir, err = cacheDir(); err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w", path, ErrMissingBinary)
	}
	return path, nil
}

// cacheDir computes the folder as hack/cluster/build.sh does.
func cacheDir() (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	cache, err := CacheRoot()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	var gomod []byte
	for _, name := range []string{"test/controlplane/go.mod", "test/controlplane/go.sum", "hack/cluster/build.sh"} {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		if gomod == nil {
			gomod = content
		}
		hash.Write(content)
	}
	version := kubernetesVersion.FindSubmatch(gomod)
	if version == nil {
		return "", errors.New("test/controlplane/go.mod does not require k8s.io/kubernetes")
	}
	name := fmt.Sprintf("%s-%x-%s-%s", version[1], hash.Sum(nil)[:6], runtime.GOOS, runtime.GOARCH)
	return filepath.Join(cache, "controlplane", name), nil
}

// CacheRoot is the folder outside the tree for built binaries:
// MILLRACE_CACHE, else millrace below XDG_CACHE_HOME or ~/.cache.
func CacheRoot() (string, error) {
	if dir := os.Getenv("MILLRACE_CACHE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "millrace"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "millrace"), nil
}

// ModuleRoot is the root of the checkout that holds the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "controlplane", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not in a checkout of Millrace")
		}
		dir = parent
	}
}
