package api_test

import (
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"millrace.dev/millrace/config/crd"
)

// rule is one CEL rule of a definition.
type rule struct {
	kind, path, message string
	transition          bool
}

// testEveryRuleIsTested finds rules that no table above or below refuses: a new rule must
// bring its case. That the cases are right is tested where they are run.
func (s *server) testEveryRuleIsTested(t *testing.T) {
	created := map[string][]string{}
	for _, r := range pipelineRefusals() {
		created["Pipeline"] = append(created["Pipeline"], r.want...)
	}
	for _, r := range stageRefusals() {
		created["Stage"] = append(created["Stage"], r.want...)
	}
	for _, r := range nodeRefusals() {
		for kind, form := range forms() {
			created[kind] = append(created[kind], r.at(form.prefix).want...)
		}
	}
	updated := map[string][]string{}
	for _, c := range changes() {
		updated[c.kind()] = append(updated[c.kind()], c.want...)
	}
	rules := allRules(t)
	t.Logf("%d rules", len(rules))
	for _, r := range rules {
		cases := created[r.kind]
		if r.transition {
			cases = updated[r.kind]
		}
		if !r.tested(cases) {
			t.Errorf("%s: no case for the rule at %q with message %q", r.kind, r.path, r.message)
		}
	}
}

var index = regexp.MustCompile(`\[\d+\]`)

func (r rule) tested(lines []string) bool {
	for _, l := range lines {
		l = index.ReplaceAllString(l, "[]")
		prefix := r.path + ": "
		if r.path == "" {
			prefix = "Invalid value"
		}
		if strings.HasPrefix(l, prefix) && strings.HasSuffix(l, ": "+r.message) {
			return true
		}
	}
	return false
}

func allRules(t *testing.T) []rule {
	t.Helper()
	definitions, err := crd.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	var rules []rule
	for _, d := range definitions {
		var walk func(path string, s *apiextensionsv1.JSONSchemaProps)
		walk = func(path string, s *apiextensionsv1.JSONSchemaProps) {
			for _, v := range s.XValidations {
				rules = append(rules, rule{
					kind: d.Spec.Names.Kind, path: strings.TrimPrefix(path+v.FieldPath, "."),
					message: v.Message, transition: strings.Contains(v.Rule, "oldSelf"),
				})
			}
			for name, member := range s.Properties {
				walk(path+"."+name, &member)
			}
			if s.Items != nil {
				walk(path+"[]", s.Items.Schema)
			}
			if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
				walk(path+"[]", s.AdditionalProperties.Schema)
			}
		}
		walk("", d.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	if len(rules) < 40 {
		t.Fatalf("found %d rules: the definitions are not read right", len(rules))
	}
	return rules
}
