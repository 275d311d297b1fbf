package manifest

import (
	"strings"
	"testing"
)

// FuzzAdd: no input makes the loader panic, and every problem has a line of the file.
func FuzzAdd(f *testing.F) {
	const pipeline = "apiVersion: millrace.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  stages:\n  - {name: a, from: [ingress], validate: {}}\n"
	f.Add(pipeline)
	f.Add(strings.Replace(pipeline, "validate: {}", "validate: &v {rules: [{expression: a}]}, x: *v", 1))
	f.Add("a: &a [*a]\n")
	f.Add("---\n---\n# x\n--- \n")
	f.Add("apiVersion: v1\nkind: List\nitems: [1, {}, {apiVersion: millrace.dev/v1alpha1, kind: Stage, spec: []}]\n")
	f.Add("x: &x {items: [1, {}]}\n<<: *x\napiVersion: v1\nkind: List\n")
	f.Add(pipeline + "--- {a: b}\n...\n# x\n...\nc: [")
	f.Add("apiVersion: millrace.dev/v1alpha1\nkind: Stage\nmetadata: 3\nspec: 4\n")
	// Compiled once: it takes longer than thousands of inputs.
	checker, err := NewChecker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content string) {
		l := checker.loader()
		l.add(t.Context(), "f.yaml", []byte(content))
		_, problems := l.finish()
		lines := strings.Count(content, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines+1 {
				t.Errorf("%s is outside of the %d lines", p, lines)
			}
		}
	})
}

// BenchmarkNewChecker compiles the definitions: most of the time that lint takes.
func BenchmarkNewChecker(b *testing.B) {
	for b.Loop() {
		if _, err := NewChecker(); err != nil {
			b.Fatal(err)
		}
	}
}
