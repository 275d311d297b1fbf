package kube

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestMergeFlags(t *testing.T) {
	got := mergeFlags([]string{"--a=1", "--b=2", "--c"}, []string{"--b=3", "--d=4"})
	if want := []string{"--a=1", "--c", "--b=3", "--d=4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMissingBinaryNamesTheCommand(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := Start(t.Context(), Options{})
	if !errors.Is(err, ErrMissingBinary) || !strings.Contains(err.Error(), "make controlplane") {
		t.Errorf("got %v, want ErrMissingBinary", err)
	}
}

// build.sh and Find must agree about the folder.
func TestCacheFolder(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	root, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	want, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(root + "/hack/cluster/build.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(output)); got != want {
		t.Errorf("build.sh prints %s, Find looks into %s", got, want)
	}
}
