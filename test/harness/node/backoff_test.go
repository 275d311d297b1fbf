package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestBackOff(t *testing.T) {
	b := newBackOff(Options{BackOff: time.Second, MaxBackOff: 3 * time.Second})
	var got []time.Duration
	for _, ran := range []time.Duration{0, 0, 0, 0, 0, 7 * time.Second, 0} {
		got = append(got, b.next(ran)/time.Second)
	}
	if want := []time.Duration{0, 1, 2, 3, 3, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("seconds before each restart: got %v, want %v", got, want)
	}
}

func TestWriteAtomically(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v")
	first := map[string]file{"a": {[]byte("1"), 0o644}, "sub/b": {[]byte("2"), 0o600}}
	if err := writeAtomically(dir, first); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(dir, "inner") // as a mount inside this one
	if err := os.Symlink(t.TempDir(), inner); err != nil {
		t.Fatal(err)
	}
	second := map[string]file{"a": {[]byte("3"), 0o644}, "c": {[]byte("4"), 0o644}}
	if err := writeAtomically(dir, second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "3", "c": "4"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "sub")); !os.IsNotExist(err) {
		t.Errorf("a file that went away: got %v, want not exist", err)
	}
	if _, err := os.Lstat(inner); err != nil {
		t.Errorf("the link of an inner mount: %v", err)
	}
	versions, err := filepath.Glob(filepath.Join(dir, "..v*"))
	if err != nil || len(versions) != 1 {
		t.Errorf("folders of old versions: got %v, %v; want the current one", versions, err)
	}
}
