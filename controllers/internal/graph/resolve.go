package graph

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// Resolved is the plan of a pipeline with the attached stages that fit.
type Resolved struct {
	// Plan is nil when the Pipeline itself is refused.
	Plan *plan.Plan
	// Errors say why the Pipeline itself is refused.
	Errors field.ErrorList
	// Refused says, by the name of the Stage object, why an attached Stage does not fit.
	Refused map[string]field.ErrorList
}

// resolve plans the pipeline with as many attached stages as fit. A stage that was there
// first wins over a later one; one that reads another attached stage comes behind it.
func resolve(pipeline *v1alpha1.Pipeline, attached []v1alpha1.Stage, lanes map[string]int, defaults config.NATS, expressions *plan.Expressions) Resolved {
	candidates := slices.DeleteFunc(slices.Clone(attached), func(s v1alpha1.Stage) bool { return !s.DeletionTimestamp.IsZero() })
	candidates = inOrder(candidates)
	compute := func(stages []v1alpha1.Stage) (*plan.Plan, field.ErrorList) {
		return plan.Compute(plan.Input{
			Pipeline: pipeline, Stages: stages, Lanes: lanes, DefaultNATSURL: defaults.URL, DefaultDomain: defaults.JetStreamDomain, Expressions: expressions,
		})
	}
	if p, errs := compute(candidates); len(errs) == 0 {
		return Resolved{Plan: p}
	}
	p, errs := compute(nil)
	if len(errs) > 0 {
		return Resolved{Errors: errs}
	}
	return accept(Resolved{Plan: p}, candidates, compute)
}

// accept adds candidates one by one, those that fit.
func accept(r Resolved, candidates []v1alpha1.Stage, compute func([]v1alpha1.Stage) (*plan.Plan, field.ErrorList)) Resolved {
	var accepted []v1alpha1.Stage
	r.Refused = map[string]field.ErrorList{}
	for _, candidate := range candidates {
		p, errs := compute(append(slices.Clone(accepted), candidate))
		if len(errs) > 0 {
			r.Refused[candidate.Name] = errs
			continue
		}
		r.Plan, accepted = p, append(accepted, candidate)
	}
	return r
}

// inOrder puts the oldest stages first, but each behind those that it reads, and behind older ones of its name. Those that read each other in
// a circle, which no plan takes, are last.
func inOrder(stages []v1alpha1.Stage) []v1alpha1.Stage {
	slices.SortStableFunc(stages, byAge)
	left := map[string]int{} // how many of a name are not in order yet
	for i := range stages {
		left[Name(&stages[i])]++
	}
	ordered := make([]v1alpha1.Stage, 0, len(stages))
	for len(stages) > 0 {
		seen := map[string]bool{} // names of older ones
		i := slices.IndexFunc(stages, func(s v1alpha1.Stage) bool {
			name := Name(&s)
			waits := seen[name] || slices.ContainsFunc(s.Spec.From, func(from string) bool {
				source, _, _ := strings.Cut(from, "/")
				return source != name && left[source] > 0
			})
			seen[name] = true
			return !waits
		})
		if i < 0 {
			return append(ordered, stages...)
		}
		left[Name(&stages[i])]--
		ordered = append(ordered, stages[i])
		stages = slices.Delete(stages, i, i+1)
	}
	return ordered
}

func byAge(a, b v1alpha1.Stage) int {
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}

// Node is the slice of the plan of one Stage object; nil when it has none. An attached
// Stage that was not accepted has none, even when the plan has a stage of the same name.
func (r Resolved) Node(stage *v1alpha1.Stage) *plan.Stage {
	if r.Plan == nil {
		return nil
	}
	object := stage.Name
	if IsChild(stage) {
		object = ""
	}
	i := slices.IndexFunc(r.Plan.Stages, func(s plan.Stage) bool { return s.Name == Name(stage) && s.Object == object })
	if i < 0 {
		return nil
	}
	return &r.Plan.Stages[i]
}
