package plan

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func (c *computation) validate(s *v1alpha1.ValidateSpec, path *field.Path) *config.Validate {
	v := &config.Validate{RequiredAttributes: s.RequiredAttributes}
	if len(v.RequiredAttributes) == 0 {
		v.RequiredAttributes = []string{"id", "source", "type"}
	}
	for i, rule := range s.Rules {
		c.checkExpression(rule.Expression, path.Child("rules").Index(i).Child("expression"))
		v.Rules = append(v.Rules, config.Rule{
			Expression: rule.Expression, Message: or(rule.Message, "rule is false: "+rule.Expression),
		})
	}
	if s.ClockSkew != nil {
		v.MaxFuture, v.MaxAge = duration(s.ClockSkew.MaxFuture, 0), duration(s.ClockSkew.MaxAge, 0)
	}
	if s.Dedupe != nil {
		v.Dedupe = &config.Dedupe{
			Window: duration(s.Dedupe.Window, 2*time.Minute), MaxEntries: int(or(s.Dedupe.MaxEntries, 2_000_000)),
		}
	}
	return v
}
