package arch_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/test/arch"
)

func scan(t *testing.T, root string) *arch.Tree {
	t.Helper()
	tree, err := arch.Scan(root, module)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
