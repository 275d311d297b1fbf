// Command crd shortens generated definitions, so that each stays small (config/crd has the bound): it takes out the
// descriptions of what Kubernetes documents itself, the patterns of conditions, which the operator alone
// writes, and the claims of resources, which the operator does not pass on to its workers.
package main

import (
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := shorten(path); err != nil {
			fmt.Fprintf(os.Stderr, "crd: %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func shorten(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var definition map[string]any
	if err := yaml.Unmarshal(content, &definition); err != nil {
		return err
	}
	var typed apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &typed); err != nil {
		return fmt.Errorf("is no definition: %w", err)
	}
	walk(definition)
	content, err = yaml.Marshal(definition)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("---\n"), content...), 0o644)
}

// walk looks for what Kubernetes defines.
func walk(node any) {
	switch n := node.(type) {
	case map[string]any:
		if properties, ok := n["properties"].(map[string]any); ok {
			shortenProperties(properties)
		}
		for _, child := range n {
			walk(child)
		}
	case []any:
		for _, child := range n {
			walk(child)
		}
	}
}

func shortenProperties(properties map[string]any) {
	for _, name := range []string{"apiVersion", "kind"} {
		if field, ok := properties[name].(map[string]any); ok && field["enum"] == nil {
			delete(field, "description")
		}
	}
	for name, keyword := range map[string]string{"conditions": "pattern", "resources": ""} {
		field, ok := properties[name].(map[string]any)
		if !ok {
			continue
		}
		own := field["description"]
		drop(field, "description")
		if keyword != "" {
			drop(field, keyword)
		}
		field["description"] = own
	}
	if resources, ok := properties["resources"].(map[string]any); ok {
		if inner, ok := resources["properties"].(map[string]any); ok {
			delete(inner, "claims")
		}
	}
}

// drop takes a keyword out of a schema and all below it.
func drop(node any, keyword string) {
	switch n := node.(type) {
	case map[string]any:
		if _, text := n[keyword].(string); text {
			delete(n, keyword)
		}
		for _, child := range n {
			drop(child, keyword)
		}
	case []any:
		for _, child := range n {
			drop(child, keyword)
		}
	}
}
