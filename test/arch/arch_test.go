package arch_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace.dev/millrace/test/arch"
	"millrace.dev/millrace/test/golden"
)

const module = "millrace.dev/millrace"

func scan(t *testing.T, root string) *arch.Tree {
	t.Helper()
	tree, err := arch.Scan(root, module)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestHouse holds the project itself to every rule.
func TestHouse(t *testing.T) {
	tree := scan(t, filepath.Join("..", ".."))
	if len(tree.Packages) < 10 {
		t.Fatalf("found %d packages; the scan does not see the project", len(tree.Packages))
	}
	for _, v := range arch.Check(tree, arch.Rules()) {
		t.Error(v)
	}
}

// TestModule keeps the module path above equal to the one in go.mod: with another one, no import
// would look like ours and every rule would pass.
func TestModule(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(content)
	if len(match) != 2 || string(match[1]) != module {
		t.Errorf("go.mod has %q, want module %s", match, module)
	}
}

// TestRulesFail shows that each rule sees what it is there for: testdata/<rule> breaks that rule,
// and want.txt has all violations that every rule together finds there.
func TestRulesFail(t *testing.T) {
	for _, rule := range arch.Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			dir := filepath.Join("testdata", rule.Name)
			var got bytes.Buffer
			own := 0
			for _, v := range arch.Check(scan(t, dir), arch.Rules()) {
				got.WriteString(v.String() + "\n")
				if v.Rule == rule.Name {
					own++
				}
			}
			if own == 0 {
				t.Errorf("%s does not break rule %s", dir, rule.Name)
			}
			golden.Check(t, filepath.Join(dir, "want.txt"), got.String())
		})
	}
}

// TestRulesPass shows that the rules let a well-built house stand: testdata/clean uses every
// exception that a rule grants.
func TestRulesPass(t *testing.T) {
	for _, v := range arch.Check(scan(t, filepath.Join("testdata", "clean")), arch.Rules()) {
		t.Error(v)
	}
}

// TestEveryFolderIsARule finds violations that no rule is run on.
func TestEveryFolderIsARule(t *testing.T) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	want := []string{"clean"}
	for _, rule := range arch.Rules() {
		want = append(want, rule.Name)
	}
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("folders of testdata and rules differ (-rules +folders):\n%s", diff)
	}
}

// TestScanFailsOnWhatIsNoGo keeps a syntax error from looking like a tree without violations.
func TestScanFailsOnWhatIsNoGo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := arch.Scan(dir, module); err == nil || !strings.Contains(err.Error(), "x.go") {
		t.Errorf("got error %v, want one that names x.go", err)
	}
	if _, err := arch.Scan(filepath.Join(dir, "absent"), module); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want not-exist", err)
	}
}
