package decide

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/plan"
)

// Compiled is what to do about the revisions of one Stage.
type Compiled struct {
	Stage *v1alpha1.Stage
	Name  string
	Step  revision.Step
}

// decideRevisions compiles the plan into a revision for each Stage that exists and whose last revision differs from it. The
// errors are of Stages whose revisions this release cannot read, or cannot make.
func decideRevisions(s *Observed, settings revision.Settings) (all []Compiled, failed []error) {
	for _, stage := range Stages(s.Stages, s.Pipeline) {
		node := s.Resolved.Node(stage)
		if node == nil || !stage.DeletionTimestamp.IsZero() {
			continue
		}
		have := s.Running[stage.Name]
		if have.Unreadable != nil {
			failed = append(failed, failure.Permanent(have.Unreadable))
			continue
		}
		made, marks, err := revision.Compile(revision.Source{
			Pipeline: s.Pipeline, Stage: stage, Spec: graph.Spec(stage, s.Pipeline), Node: node, Leases: s.Resolved.Plan.Leases,
		}, settings)
		if err != nil {
			failed = append(failed, failure.Permanent(err))
			continue
		}
		var adopted *revision.Adopted
		if len(have.History) == 0 {
			if adopted, err = revision.Adopt(made, have.Deployment, have.ConfigMap, string(apply.FieldOwner)); err != nil {
				failed = append(failed, failure.Permanent(err))
				continue
			}
		}
		if step := revision.Next(have.History, revision.NumberOf(stage, stage.Status.ObservedRevision), adopted, made, marks); len(step.Write) > 0 || step.Mark != nil {
			all = append(all, Compiled{stage, node.Name, step})
		}
	}
	return all, failed
}

// Begin is pure: it compiles the first revisions of Stages that were made just now and run nothing yet.
func Begin(s *Observed, made []v1alpha1.Stage, settings revision.Settings) ([]Compiled, []error) {
	seen := *s
	seen.Stages, seen.Running = graph.Stages{Children: made}, nil
	return decideRevisions(&seen, settings)
}

// LanesOf are the lanes that the Stages run in, by the name of the object.
func LanesOf(running map[string]Running) map[string]int {
	lanes := map[string]int{}
	for name, r := range running {
		if newest := r.History.Newest(); newest != nil && newest.Head == "" {
			lanes[name] = newest.Lanes
		} else if n := revision.AdoptedLanes(r.ConfigMap); newest == nil && n > 0 {
			lanes[name] = n
		}
	}
	return lanes
}

// Acceptance is what is said of one Stage.
type Acceptance struct {
	Stage   *v1alpha1.Stage
	Verdict status.Verdict
}

// beginning is how long the status of a new Stage is left to the Stage controller.
const beginning = 30 * time.Second

// decideAccepted says of each Stage whether it is part of the plan. A Stage that is about to get another
// revision is left to the next pass, so that nobody takes it for ready too early. A new Stage that has its first revision says itself that it is
// accepted, in the one status that it writes then; where that takes long, it is said here.
func decideAccepted(s *Observed, about []Compiled) []Acceptance {
	var all []Acceptance
	for _, stage := range Stages(s.Stages, s.Pipeline) {
		history := s.Running[stage.Name].History
		pending := len(history) > 0 &&
			slices.ContainsFunc(about, func(c Compiled) bool { return c.Stage == stage && len(c.Step.Write) > 0 })
		if !stage.DeletionTimestamp.IsZero() || pending {
			continue
		}
		verdict := acceptedStage(s, stage)
		begins := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionAccepted) == nil && graph.IsChild(stage) &&
			len(history) > 0 && history.Newest().Marks.Of(stage) && s.Now.Before(stage.CreationTimestamp.Add(beginning))
		if !begins || verdict.Status != metav1.ConditionTrue {
			all = append(all, Acceptance{stage, verdict})
		}
	}
	return all
}

func acceptedStage(s *Observed, stage *v1alpha1.Stage) status.Verdict {
	const kind = v1alpha1.ConditionAccepted
	node := s.Resolved.Node(stage)
	newest := s.Running[stage.Name].History.Newest()
	switch errs := s.Resolved.Refused[stage.Name]; {
	case len(errs) > 0 && !graph.IsChild(stage):
		message := errs.ToAggregate().Error()
		if newest != nil {
			message += "; it runs on as it was accepted last"
		}
		return status.Stalled(kind, v1alpha1.ReasonInvalid, message)
	case len(s.Resolved.Errors) > 0 && newest != nil && !graph.IsChild(stage) && !newest.Marks.Of(stage):
		return status.Unknown(kind, v1alpha1.ReasonProgressing, fmt.Sprintf(
			"the stage runs on as it was accepted last: Pipeline %s is refused, see its status, and this change waits for that", s.Pipeline.Name))
	case len(s.Resolved.Errors) > 0 && newest != nil:
		return status.True(kind, v1alpha1.ReasonAccepted, fmt.Sprintf(
			"the stage runs on as it was accepted last: Pipeline %s is refused, see its status", s.Pipeline.Name))
	case len(s.Resolved.Errors) > 0:
		return status.False(kind, v1alpha1.ReasonPipelineInvalid, fmt.Sprintf("Pipeline %s is refused, see its status", s.Pipeline.Name))
	case node == nil:
		return status.False(kind, v1alpha1.ReasonProgressing, fmt.Sprintf("Pipeline %s does not name this stage any more", s.Pipeline.Name))
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

// Stages are the Stages of a pipeline: its children, and those that users attached.
func Stages(s graph.Stages, pipeline *v1alpha1.Pipeline) []*v1alpha1.Stage {
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
