package pipeline

import (
	"fmt"
	"slices"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/plan"
)

// compiled is what to do about the revisions of one Stage.
type compiled struct {
	stage *v1alpha1.Stage
	name  string
	step  revision.Step
}

// decideRevisions compiles the plan into a revision for each Stage that exists, and that its last revision is not so already. The
// errors are of Stages whose revisions this release cannot read, or cannot make.
func decideRevisions(s *snapshot, settings revision.Settings) (all []compiled, failed []error) {
	for _, stage := range ours(s.stages, s.pipeline) {
		node := s.resolved.Node(stage)
		if node == nil || !stage.DeletionTimestamp.IsZero() {
			continue
		}
		have := s.running[stage.Name]
		if have.unreadable != nil {
			failed = append(failed, failure.Permanent(have.unreadable))
			continue
		}
		made, marks, err := revision.Compile(revision.Source{
			Pipeline: s.pipeline, Stage: stage, Spec: graph.Spec(stage, s.pipeline), Node: node, Leases: s.resolved.Plan.Leases,
		}, settings)
		if err != nil {
			failed = append(failed, failure.Permanent(err))
			continue
		}
		var adopted *revision.Adopted
		if len(have.history) == 0 {
			if adopted, err = revision.Adopt(made, have.deployment, have.configMap, string(apply.FieldOwner)); err != nil {
				failed = append(failed, failure.Permanent(err))
				continue
			}
		}
		if step := revision.Next(have.history, revision.NumberOf(stage, stage.Status.ObservedRevision), adopted, made, marks); len(step.Write) > 0 || step.Mark != nil {
			all = append(all, compiled{stage, node.Name, step})
		}
	}
	return all, failed
}

// lanesOf are the lanes that the Stages run in, by the name of the object.
func lanesOf(running map[string]running) map[string]int {
	lanes := map[string]int{}
	for name, r := range running {
		if newest := r.history.Newest(); newest != nil && newest.Head == "" {
			lanes[name] = newest.Lanes
		} else if n := revision.AdoptedLanes(r.configMap); newest == nil && n > 0 {
			lanes[name] = n
		}
	}
	return lanes
}

// acceptance is what is said of one Stage.
type acceptance struct {
	stage   *v1alpha1.Stage
	verdict status.Verdict
}

// decideAccepted says of each Stage whether it is part of the plan; of one that is about to get a revision the next pass does, so that
// nobody takes it for ready before.
func decideAccepted(s *snapshot, about []compiled) []acceptance {
	var all []acceptance
	for _, stage := range ours(s.stages, s.pipeline) {
		pending := slices.ContainsFunc(about, func(c compiled) bool { return c.stage == stage && len(c.step.Write) > 0 })
		if stage.DeletionTimestamp.IsZero() && !pending {
			all = append(all, acceptance{stage, acceptedStage(s, stage)})
		}
	}
	return all
}

func acceptedStage(s *snapshot, stage *v1alpha1.Stage) status.Verdict {
	const kind = v1alpha1.ConditionAccepted
	node := s.resolved.Node(stage)
	newest := s.running[stage.Name].history.Newest()
	switch errs := s.resolved.Refused[stage.Name]; {
	case len(errs) > 0 && !graph.IsChild(stage):
		message := errs.ToAggregate().Error()
		if newest != nil {
			message += "; it runs on as it was accepted last"
		}
		return status.Stalled(kind, v1alpha1.ReasonInvalid, message)
	case len(s.resolved.Errors) > 0 && newest != nil && !graph.IsChild(stage) && !newest.Marks.Of(stage):
		return status.Unknown(kind, v1alpha1.ReasonProgressing, fmt.Sprintf(
			"the stage runs on as it was accepted last: Pipeline %s is refused, see its status, and this change waits for that", s.pipeline.Name))
	case len(s.resolved.Errors) > 0 && newest != nil:
		return status.True(kind, v1alpha1.ReasonAccepted, fmt.Sprintf(
			"the stage runs on as it was accepted last: Pipeline %s is refused, see its status", s.pipeline.Name))
	case len(s.resolved.Errors) > 0:
		return status.False(kind, v1alpha1.ReasonPipelineInvalid, fmt.Sprintf("Pipeline %s is refused, see its status", s.pipeline.Name))
	case node == nil:
		return status.False(kind, v1alpha1.ReasonProgressing, fmt.Sprintf("Pipeline %s does not name this stage any more", s.pipeline.Name))
	}
	return status.True(kind, v1alpha1.ReasonAccepted, acceptedMessage(stage, node))
}

func acceptedMessage(stage *v1alpha1.Stage, node *plan.Stage) string {
	message := "spec is valid"
	if node.Head != "" {
		if stage.Spec.Replicas != nil {
			message += "; spec.replicas is ignored: the stage runs in the workers of " + node.Head
		}
		return message
	}
	n := node.Replicas
	if stage.Spec.Replicas != nil {
		n = *stage.Spec.Replicas
	}
	if node.Suspended {
		n = 0
	}
	if int(n) > node.Lanes {
		message += fmt.Sprintf("; of %d workers %d stand by: there are no more lanes than %d", n, int(n)-node.Lanes, node.Lanes)
	}
	return message
}

// ours are the Stages of a pipeline: its children, and those that users attached.
func ours(s graph.Stages, pipeline *v1alpha1.Pipeline) []*v1alpha1.Stage {
	var all []*v1alpha1.Stage
	for i := range s.Children {
		if graph.IsChildOf(&s.Children[i], pipeline) {
			all = append(all, &s.Children[i])
		}
	}
	for i := range s.Attached {
		all = append(all, &s.Attached[i])
	}
	return all
}
