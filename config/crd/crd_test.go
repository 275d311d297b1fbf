package crd_test

import (
	"encoding/json"
	"testing"

	"millrace.dev/millrace/config/crd"
)

// maxSize of a definition as compact JSON. Large definitions break client-side apply, whose
// annotation holds the whole object, and the cluster's OpenAPI document.
const maxSize = 30_000

func TestDefinitions(t *testing.T) {
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range definitions {
		names = append(names, d.Name)
		encoded, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", d.Name, len(encoded))
		if len(encoded) > maxSize {
			t.Errorf("%s has %d bytes of compact JSON, at most %d", d.Name, len(encoded), maxSize)
		}
	}
	if len(names) != 2 || names[0] != "pipelines.millrace.dev" || names[1] != "stages.millrace.dev" {
		t.Errorf("definitions are %v", names)
	}
}
