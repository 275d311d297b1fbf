package admission

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/plan"
)

// running is the number of lanes of each stage that runs, by its name. It is what their statuses say: whoever decides in the end,
// the Stage controller, looks at what is there.
func running(stages ...v1alpha1.Stage) map[string]int {
	lanes := map[string]int{}
	for _, s := range stages {
		if len(s.Status.Consumers) > 0 {
			lanes[graph.Name(&s)] = max(int(s.Status.Consumers[0].Lanes), 1)
		}
	}
	return lanes
}

// lanesChanges refuses stages that would get another number of lanes; place is as for backlogs.
func lanesChanges(now *plan.Plan, running map[string]int, place func(*plan.Stage) *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range now.Stages {
		s := &now.Stages[i]
		path, was := place(s), running[s.Name]
		if path == nil || was == 0 || s.Head != "" {
			continue
		}
		if why := s.LanesChange(was); why != "" {
			from := make([]string, len(s.Config.Inputs))
			for i, in := range s.Config.Inputs {
				from[i] = in.From
			}
			errs = append(errs, field.Invalid(path, from, why))
		}
	}
	return errs
}
