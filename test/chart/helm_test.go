package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root     = "../.."
	chartDir = root + "/charts/millrace"
)

// buildHelm builds helm once for all tests.
var buildHelm = sync.OnceValues(func() (string, error) {
	command := exec.Command(root+"/hack/tools/build.sh", "helm")
	command.Stderr = os.Stderr
	output, err := command.Output()
	return strings.TrimSpace(string(output)), err
})

// helm runs helm in its own empty home and returns what it printed.
type helm struct {
	binary string
	env    []string
}

func newHelm(t *testing.T) helm {
	t.Helper()
	binary, err := buildHelm()
	if err != nil {
		t.Fatalf("hack/tools/build.sh helm: %v", err)
	}
	home := t.TempDir()
	// The environment of whoever runs the test must not reach another cluster.
	return helm{binary, append(os.Environ(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null", "HELM_NAMESPACE=")}
}

func (h helm) run(ctx context.Context, args ...string) (stdout string, err error) {
	stdout, _, err = h.both(ctx, args...)
	return stdout, err
}

// both returns stderr, too: there helm prints the logs of hooks.
func (h helm) both(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	command := exec.CommandContext(ctx, h.binary, args...)
	command.Env = h.env
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		err = fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), problems.String())
		return out.String(), problems.String(), err
	}
	return out.String(), problems.String(), nil
}

func (h helm) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// template renders the chart as release "demo" in namespace "mill".
func (h helm) template(ctx context.Context, args ...string) (string, error) {
	return h.render(ctx, chartDir, args...)
}

// render renders a chart in any folder as release "demo" in namespace "mill".
func (h helm) render(ctx context.Context, chart string, args ...string) (string, error) {
	return h.run(ctx, append([]string{"template", "demo", chart, "--namespace", "mill", "--kube-version", "1.37.0"}, args...)...)
}

// objects of a rendered chart, by "Kind namespace/name".
func objects(t *testing.T, rendered string) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if object.Object == nil {
			continue
		}
		key := object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
		if found[key] != nil {
			t.Errorf("%s is rendered twice", key)
		}
		found[key] = object
	}
}
