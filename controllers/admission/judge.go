package admission

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
)

// verdict is what the planner says of one object.
type verdict struct {
	// refusals keep the object out.
	refusals field.ErrorList
	// warnings are shown to the user; the object is accepted.
	warnings []string
}

// judgePipeline plans a Pipeline by itself: its stages read no attached Stages, and an attached Stage that
// does not fit says nothing about the Pipeline. before is the Pipeline as it was; nil when it is new. children are the Stages that
// were made of it.
func judgePipeline(p, before *v1alpha1.Pipeline, children []v1alpha1.Stage, defaultURL string) verdict {
	now, errs := plan.Compute(plan.Input{Pipeline: p, DefaultNATSURL: defaultURL, Lanes: running(children...)})
	v := split(errs)
	if len(errs) > 0 {
		return v
	}
	v.warnings = append(v.warnings, now.Warnings...)
	if before == nil {
		return v
	}
	was, errs := plan.Compute(plan.Input{Pipeline: before, DefaultNATSURL: defaultURL})
	if len(errs) == 0 {
		v.warnings = append(v.warnings, backlogs(was, now, before.Status.Streams, ofPipeline(p))...)
	}
	return v
}

// judgeStage plans an attached Stage. pipeline is nil when it does not exist yet; attached are the
// Stages of the same pipeline, s as it was among them, and s has the status that it had.
func judgeStage(s *v1alpha1.Stage, pipeline *v1alpha1.Pipeline, attached []v1alpha1.Stage, defaultURL string) verdict {
	if pipeline == nil {
		return split(ofStage(s, plan.CheckStage(s)))
	}
	others := slices.DeleteFunc(slices.Clone(attached), func(o v1alpha1.Stage) bool { return o.Name == s.Name })
	now, errs := plan.Compute(plan.Input{Pipeline: pipeline, Stages: append(others, *s), DefaultNATSURL: defaultURL, Lanes: running(*s)})
	v := split(ofStage(s, errs))
	if len(errs) > 0 {
		return v
	}
	for _, w := range now.Warnings {
		if object, path := plan.Place(w); object == s.Name {
			v.warnings = append(v.warnings, path)
		}
	}
	was, errs := plan.Compute(plan.Input{Pipeline: pipeline, Stages: attached, DefaultNATSURL: defaultURL})
	if len(errs) == 0 {
		v.warnings = append(v.warnings, backlogs(was, now, pipeline.Status.Streams, ofAttached(s.Name))...)
	}
	return v
}

// ofStage keeps the refusals of one attached Stage, with field paths that begin at the Stage.
func ofStage(s *v1alpha1.Stage, errs field.ErrorList) field.ErrorList {
	var own field.ErrorList
	for _, err := range errs {
		if object, path := plan.Place(err.Field); object == s.Name {
			moved := *err
			moved.Field = path
			own = append(own, &moved)
		}
	}
	return own
}

// split tells what may come right with the next object from what is wrong by itself.
func split(errs field.ErrorList) (v verdict) {
	for _, err := range errs {
		if err.Type == field.ErrorTypeNotFound {
			v.warnings = append(v.warnings, err.Error())
			continue
		}
		v.refusals = append(v.refusals, err)
	}
	return v
}
