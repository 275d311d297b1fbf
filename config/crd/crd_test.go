package crd_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"millrace.dev/millrace/config/crd"
)

// maxSize of a definition as compact JSON. Client-side apply keeps it in an annotation, of which the API server takes
// 262,144 bytes; clients read it in the cluster's OpenAPI document.
const maxSize = 120_000

func TestDefinitions(t *testing.T) {
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range definitions {
		names = append(names, d.Name)
		size := compactSize(t, d)
		t.Logf("%s: %d bytes", d.Name, size)
		if size > maxSize {
			t.Errorf("%s has %d bytes of compact JSON, at most %d", d.Name, size, maxSize)
		}
	}
	if len(names) != 2 || names[0] != "pipelines.millrace.dev" || names[1] != "stages.millrace.dev" {
		t.Errorf("definitions are %v", names)
	}
}

// compactSize is the size on the wire; Go's default would count < and & as six bytes each.
func compactSize(t *testing.T, v any) int {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Len() - 1 // the newline
}
