package plan

import (
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

func (c *computation) transform(s *v1alpha1.TransformSpec, path *field.Path) *config.Transform {
	to := &config.Transform{Key: s.Key}
	if s.Key != "" {
		c.checkExpressionFor(s.Key, celenv.String, path.Child("key"))
	}
	for i := range s.Steps {
		at := path.Child("steps").Index(i)
		if s.Steps[i].Split != nil && i < len(s.Steps)-1 {
			c.refuse(field.Invalid(at.Child("split"), s.Steps[i].Split.List, "must be the last step: what follows would see events that are no more"))
		}
		to.Steps = append(to.Steps, c.transformStep(&s.Steps[i], at, s.Key != ""))
	}
	return to
}

func (c *computation) transformStep(s *v1alpha1.TransformStep, path *field.Path, rekeys bool) config.TransformStep {
	to := config.TransformStep{When: s.When, Filter: s.Filter, Remove: s.Remove}
	if s.When != "" {
		c.checkExpression(s.When, path.Child("when"))
	}
	if s.Filter != "" {
		c.checkExpression(s.Filter, path.Child("filter"))
	}
	if set := s.Set; set != nil {
		yields := celenv.Scalar
		switch set.Field {
		case "type", "subject", "body":
			yields = celenv.String
		case "severity":
			yields = celenv.Int
		}
		c.checkExpressionFor(set.Expression, yields, path.Child("set", "expression"))
		to.Set = &config.TransformSet{Field: set.Field, Expression: set.Expression}
	}
	if s.Rename != nil {
		to.Rename = &config.TransformRename{From: s.Rename.From, To: s.Rename.To}
	}
	if r := s.Redact; r != nil {
		if _, err := regexp.Compile(r.Pattern); err != nil {
			c.refuse(field.Invalid(path.Child("redact", "pattern"), r.Pattern, "is no regular expression (RE2): "+err.Error()))
		}
		if i := slices.Index(r.Fields, "subject"); i >= 0 && !rekeys {
			c.refuse(field.Invalid(path.Child("redact", "fields").Index(i), "subject", keptAsKey))
		}
		to.Redact = &config.TransformRedact{Fields: r.Fields, Method: config.RedactMethod(r.Method), Pattern: r.Pattern}
		if r.KeySecretRef != nil {
			to.Redact.KeyFile = secretFile(*r.KeySecretRef).File
		}
	}
	if i := slices.Index(s.Remove, "subject"); i >= 0 && !rekeys {
		c.refuse(field.Invalid(path.Child("remove").Index(i), "subject", keptAsKey))
	}
	if s.Split != nil {
		c.checkExpressionFor(s.Split.List, celenv.List, path.Child("split", "list"))
		to.Split = &config.TransformSplit{List: s.Split.List, Into: or(s.Split.Into, "body")}
	}
	return to
}

// keptAsKey is why a subject cannot just go.
const keptAsKey = "the key of an event may be its subject, and would keep it: set transform.key, too"

// splits says whether a step makes several events of one.
func splits(s *v1alpha1.TransformSpec) bool {
	return slices.ContainsFunc(s.Steps, func(step v1alpha1.TransformStep) bool { return step.Split != nil })
}

// transformSecrets are the keys of hashes.
func transformSecrets(s *v1alpha1.TransformSpec) []config.SecretFile {
	var all []config.SecretFile
	for _, step := range s.Steps {
		if step.Redact != nil && step.Redact.KeySecretRef != nil {
			all = append(all, secretFile(*step.Redact.KeySecretRef))
		}
	}
	return all
}
