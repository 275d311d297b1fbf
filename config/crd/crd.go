package crd

import (
	"embed"
	"fmt"
	"io/fs"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// Files are the definitions, one a file, in folder bases.
//
//go:embed bases/*.yaml
var Files embed.FS

// Definitions returns the definitions, in the order of their file names.
func Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	names, err := fs.Glob(Files, "bases/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the definitions: %w", err)
	}
	definitions := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(names))
	for _, name := range names {
		content, err := Files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the definition: %w", err)
		}
		var d apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(content, &d); err != nil {
			return nil, fmt.Errorf("read the definition %s: %w", name, err)
		}
		definitions = append(definitions, &d)
	}
	return definitions, nil
}
