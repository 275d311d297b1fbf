package plan

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/celenv"
)

func (c *computation) experiment(s *v1alpha1.ExperimentSpec, path *field.Path) *config.Experiment {
	to := &config.Experiment{Mode: config.ExperimentMode(or(s.Mode, v1alpha1.ExperimentSplit)), Key: s.Key}
	if s.Key != "" {
		c.checkExpressionFor(s.Key, celenv.String, path.Child("key"))
	}
	some := false
	for _, v := range s.Variants {
		weight := 0
		if v.Weight != nil {
			weight = int(*v.Weight)
		}
		some = some || weight > 0
		to.Variants = append(to.Variants, config.ExperimentVariant{Name: v.Name, Weight: weight})
	}
	if !some {
		c.refuse(field.Invalid(path.Child("variants"), len(s.Variants), "at least one weight must not be 0"))
	}
	return to
}

// experimentPorts are those of the variants.
func experimentPorts(s *v1alpha1.ExperimentSpec, path *field.Path) []namedPort {
	var ports []namedPort
	for i, v := range s.Variants {
		ports = append(ports, namedPort{v.Name, path.Child("variants").Index(i).Child("name")})
	}
	return ports
}
