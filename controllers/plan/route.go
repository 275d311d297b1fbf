package plan

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
)

func (c *computation) route(s *v1alpha1.RouteSpec, path *field.Path) *config.Route {
	to := &config.Route{Mode: config.RouteMode(or(s.Mode, v1alpha1.RouteFirst))}
	if s.Default != v1alpha1.RouteDrop {
		to.Default = s.Default
	}
	for i, rule := range s.Rules {
		at := path.Child("rules").Index(i)
		c.checkExpression(rule.Expression, at.Child("expression"))
		r := config.RouteRule{Port: rule.Port, Expression: rule.Expression}
		if rule.Sample != "" {
			share, err := strconv.ParseFloat(rule.Sample, 64)
			if err != nil || !(share > 0 && share < 1) {
				c.refuse(field.Invalid(at.Child("sample"), rule.Sample, "must be a decimal above 0 and below 1: the share of keys that the rule takes"))
			}
			r.Sample = share
		}
		to.Rules = append(to.Rules, r)
	}
	return to
}

// routePorts are those that rules name, and the default.
func routePorts(s *v1alpha1.RouteSpec, path *field.Path) []namedPort {
	var ports []namedPort
	for i, rule := range s.Rules {
		ports = append(ports, namedPort{rule.Port, path.Child("rules").Index(i).Child("port")})
	}
	if s.Default != v1alpha1.RouteDrop {
		ports = append(ports, namedPort{s.Default, path.Child("default")})
	}
	return ports
}
