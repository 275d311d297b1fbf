package manifest

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/plan"
)

// finish plans all pipelines, and returns the set with its problems in the order of files
// and lines.
func (l *loader) finish() (*Set, []Problem) {
	for i := range l.set.Pipelines {
		l.set.Plans = append(l.set.Plans, l.plan(i))
	}
	l.checkDetached()
	l.checkNeighbours()
	if len(l.set.Pipelines)+len(l.set.Stages) == 0 && len(l.problems) == 0 {
		for file := range l.files {
			l.problems = append(l.problems, finding{Problem: Problem{File: file, Line: 1, Message: "holds no Pipeline and no Stage"}})
		}
	}
	problems := make([]Problem, len(l.problems))
	for i, f := range l.problems {
		problems[i] = f.Problem
	}
	return l.set, order(problems, l.files)
}

// plan plans one pipeline with the stages that are attached to it.
func (l *loader) plan(i int) *plan.Plan {
	pipeline := &l.set.Pipelines[i]
	in := plan.Input{Pipeline: pipeline, DefaultNATSURL: defaultNATSURL, DefaultDomain: l.domain}
	documents := map[string]*document{"": l.pipelines[i]}
	for k, s := range l.set.Stages {
		if attached(&s, pipeline) {
			in.Stages = append(in.Stages, s)
			documents[s.Name] = l.stages[k]
		}
	}
	p, refusals := plan.Compute(in)
	reported := slices.Clone(l.problems)
	l.refuse(documents, refusals)
	for _, d := range documents {
		if slices.ContainsFunc(reported, func(f finding) bool { return f.document == d }) {
			return nil
		}
	}
	return p
}

// attached tells whether the stage is one of the pipeline. One without a name cannot be told from
// the pipeline's own, so it is checked alone.
func attached(s *v1alpha1.Stage, p *v1alpha1.Pipeline) bool {
	return s.Name != "" && s.Namespace == p.Namespace && s.Spec.PipelineRef.Name == p.Name
}

// refuse reports what the planner found, unless the API server has said it already. documents
// are by the name of the Stage object, and empty for the Pipeline.
func (l *loader) refuse(documents map[string]*document, refusals field.ErrorList) {
	reported := slices.Clone(l.problems)
	for _, refusal := range refusals {
		object, path := plan.Place(refusal.Field)
		d := documents[object]
		if !slices.ContainsFunc(reported, func(f finding) bool { return f.document == d && covers(f.Path, path) }) {
			l.report(d, path, refusal.ErrorBody())
		}
	}
}

// covers tells whether the API server has said already what the planner found: at the same
// field, or at one around or inside it. Its rules about all stages together do not count,
// since the planner names the one field that is wrong.
func covers(said, found string) bool {
	switch said {
	case found:
		return true
	case "": // a rule about the object, and those are about its name
		return within(found, "metadata")
	case "spec", "spec.stages":
		return false
	}
	return within(said, found) || within(found, said)
}

func within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// checkDetached lists the Stages whose Pipeline is not there, and checks each alone.
func (l *loader) checkDetached() {
	for i, s := range l.set.Stages {
		if slices.ContainsFunc(l.set.Pipelines, func(p v1alpha1.Pipeline) bool { return attached(&s, &p) }) {
			continue
		}
		l.set.Detached = append(l.set.Detached, s.Namespace+"/"+s.Name)
		l.refuse(map[string]*document{s.Name: l.stages[i]}, plan.CheckStage(&s))
		l.checkObject(l.stages[i], &s)
	}
}

// checkObject reports a Stage that stands where a pipeline makes one.
func (l *loader) checkObject(d *document, s *v1alpha1.Stage) {
	for i, p := range l.set.Pipelines {
		for _, own := range p.Spec.Stages {
			if p.Namespace == s.Namespace && plan.ChildName(p.Name, own.Name) == s.Name {
				l.report(d, "metadata.name", fmt.Sprintf("is the name of the Stage object of stage %q of Pipeline %s/%s (%s:%d): rename one of them",
					own.Name, p.Namespace, p.Name, l.pipelines[i].file, l.pipelines[i].line(l.pipelines[i].node)))
			}
		}
	}
}

// checkNeighbours reports pipelines that claim the same Stage object, or the same stream or subjects
// of one server: the second would be refused in the cluster.
func (l *loader) checkNeighbours() {
	for i, p := range l.set.Plans {
		for k, other := range l.set.Plans[:i] {
			if p == nil || other == nil {
				continue
			}
			for _, clash := range plan.Clashes(p, other) {
				l.report(l.pipelines[i], "metadata.name", fmt.Sprintf("%s (%s:%d)", clash, l.pipelines[k].file, l.pipelines[k].line(l.pipelines[k].node)))
			}
		}
	}
}
