package crd_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/config/crd"
)

// TestConstants: what code takes for a default or a bound is what the definitions say.
func TestConstants(t *testing.T) {
	const pipeline, stage, entry = "Pipeline", "Stage", "spec.stages[]."
	tests := []struct {
		kind, path, keyword string
		want                any
	}{
		{pipeline, "spec.partitions", "default", v1alpha1.DefaultPartitions},
		{pipeline, "spec.streams.storage", "default", v1alpha1.StorageFile},
		{pipeline, "spec.streams.durability", "default", v1alpha1.DurabilityDefault},
		{pipeline, "spec.ingress.subject", "default", v1alpha1.DefaultIngressSubject},
		{pipeline, "spec.deadLetters.subject", "default", v1alpha1.DefaultDeadLettersSubject},
		{pipeline, "spec.nats.credentialsType", "default", v1alpha1.CredentialsCreds},
		{pipeline, entry + "name", "maxLength", v1alpha1.MaxNameLength},
		{stage, "spec.name", "maxLength", v1alpha1.MaxNameLength},
		{stage, "spec.pipelineRef.name", "maxLength", v1alpha1.MaxNameLength},
		{pipeline, "status.deadLetters.last.stage", "maxLength", v1alpha1.MaxNameLength},
		{pipeline, "status.deadLetters.last.reason", "maxLength", v1alpha1.MaxDeadLetterReason},
		{pipeline, "status.deadLetters.last.message", "maxLength", v1alpha1.MaxDeadLetterMessage},
		{pipeline, "status.conditions[].message", "maxLength", v1alpha1.MaxConditionMessage},
		{stage, "status.conditions[].message", "maxLength", v1alpha1.MaxConditionMessage},
		{stage, "status.consumers", "maxItems", v1alpha1.MaxConsumers},
		{stage, "status.autoscaling.reason", "maxLength", v1alpha1.MaxAutoscalingReason},
	}
	for path, want := range map[string]any{
		"workers.min":                v1alpha1.DefaultMinWorkers,
		"retry.initialBackoff":       v1alpha1.DefaultInitialBackoff,
		"retry.maxBackoff":           v1alpha1.DefaultMaxBackoff,
		"correlate.window.minEvents": v1alpha1.DefaultMinEvents,
		"correlate.window.maxEvents": v1alpha1.DefaultMaxEvents,
	} {
		for kind, prefix := range map[string]string{pipeline: entry, stage: "spec."} {
			tests = append(tests, struct {
				kind, path, keyword string
				want                any
			}{kind, prefix + path, "default", want})
		}
	}
	schemas := schemasByKind(t)
	for _, test := range tests {
		at := field(schemas[test.kind], test.path)
		if at == nil {
			t.Errorf("%s has no %s", test.kind, test.path)
			continue
		}
		if got, want := keyword(t, at, test.keyword), fmt.Sprint(test.want); got != want {
			t.Errorf("%s %s: %s is %q, and %q in code", test.kind, test.path, test.keyword, got, want)
		}
	}
}

// TestRulesNameNoDefault: a default that stands in a rule again can differ from the one of the field. Fields that a rule
// compares have theirs in the definition; the rule sees it.
func TestRulesNameNoDefault(t *testing.T) {
	fallback := regexp.MustCompile(`orValue\(([^)]*)\)`)
	for kind, schema := range schemasByKind(t) {
		walk("", schema, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, rule := range s.XValidations {
				for _, m := range fallback.FindAllStringSubmatch(rule.Rule, -1) {
					if m[1] != "'-'" && m[1] != "false" {
						t.Errorf("%s %s: the rule takes %s for what is left out: %s", kind, path, m[1], rule.Rule)
					}
				}
			}
		})
	}
}

// TestDescriptionsSayTheDefault: what a field says of its default is what it has.
func TestDescriptionsSayTheDefault(t *testing.T) {
	says := regexp.MustCompile(`Default: ([^ ]*)\.$`)
	for kind, schema := range schemasByKind(t) {
		walk("", schema, func(path string, s *apiextensionsv1.JSONSchemaProps) {
			if s.Default == nil || string(s.Default.Raw) == "{}" {
				return
			}
			m := says.FindStringSubmatch(s.Description)
			if got := keyword(t, s, "default"); len(m) < 2 || m[1] != got {
				t.Errorf("%s %s: the default is %s, and the description says %q", kind, path, got, s.Description)
			}
		})
	}
}

func schemasByKind(t *testing.T) map[string]*apiextensionsv1.JSONSchemaProps {
	t.Helper()
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*apiextensionsv1.JSONSchemaProps{}
	for _, d := range definitions {
		schemas[d.Spec.Names.Kind] = d.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return schemas
}

// field is the schema at a path such as spec.stages[].name, or nil.
func field(root *apiextensionsv1.JSONSchemaProps, path string) (found *apiextensionsv1.JSONSchemaProps) {
	walk("", root, func(at string, s *apiextensionsv1.JSONSchemaProps) {
		if at == "."+path {
			found = s
		}
	})
	return found
}

func walk(path string, s *apiextensionsv1.JSONSchemaProps, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, member := range s.Properties {
		walk(path+"."+name, &member, visit)
	}
	if s.Items != nil {
		walk(path+"[]", s.Items.Schema, visit)
	}
}

// keyword is the value of a keyword as text.
func keyword(t *testing.T, s *apiextensionsv1.JSONSchemaProps, name string) string {
	t.Helper()
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var keywords map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &keywords); err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(keywords[name]), `"`)
}
