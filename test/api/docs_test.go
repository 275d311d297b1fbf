package api_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"millrace.dev/millrace/config/crd"
	"millrace.dev/millrace/controllers/manifest"
)

// TestDocs holds each page against the definition of its kind: every field is named, and every
// example is taken by lint.
func TestDocs(t *testing.T) {
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	checker, err := manifest.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range definitions {
		t.Run(d.Spec.Names.Kind, func(t *testing.T) {
			content, err := os.ReadFile("../../docs/" + d.Spec.Names.Singular + ".md")
			if err != nil {
				t.Fatal(err)
			}
			page := string(content)
			for path := range documented(d.Spec.Versions[0].Schema.OpenAPIV3Schema) {
				leaf := path[strings.LastIndex(path, ".")+1:]
				if !regexp.MustCompile("`[^`\n]*\\b" + regexp.QuoteMeta(leaf) + "\\b[^`\n]*`").MatchString(page) {
					t.Errorf("the page does not name %s", path)
				}
			}
			examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
			if len(examples) == 0 {
				t.Error("the page has no example")
			}
			for _, example := range examples {
				_, problems, err := checker.Read(t.Context(), "example.yaml", strings.NewReader(example[1]))
				if err != nil || len(problems) > 0 {
					t.Errorf("%v %v in\n%s", err, problems, example[1])
				}
			}
		})
	}
}

// documented are the fields that a page has to name: those of the spec and of the status, but
// not what Kubernetes documents, nor the stages of a Pipeline, which have a page of their own.
func documented(root *apiextensionsv1.JSONSchemaProps) map[string]bool {
	fields := map[string]bool{}
	var walk func(path string, s *apiextensionsv1.JSONSchemaProps)
	walk = func(path string, s *apiextensionsv1.JSONSchemaProps) {
		fields[path] = true
		switch path {
		case "spec.stages", "spec.workers.resources", "status.conditions":
			return
		}
		if s.Items != nil {
			s = s.Items.Schema
		}
		for name, member := range s.Properties {
			walk(path+"."+name, &member)
		}
	}
	for _, part := range []string{"spec", "status"} {
		for name, member := range root.Properties[part].Properties {
			walk(part+"."+name, &member)
		}
	}
	return fields
}
