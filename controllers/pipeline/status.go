package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
	"millrace.dev/millrace/controllers/plan"
)

// report is all that status is made from.
type report struct {
	seen   *decide.Observed
	intent decide.Desired
	done   outcome
	// powerSafe is nil when durability PowerSafe is not demanded.
	powerSafe *status.Verdict
}

// setStatus writes the whole status, every condition in every case.
func setStatus(s *v1alpha1.PipelineStatus, rep report, now time.Time) {
	generation := rep.seen.Pipeline.Generation
	s.ObservedGeneration = generation
	if rep.seen.Resolved.Plan != nil {
		setFacts(s, rep)
	}
	reason, message := v1alpha1.ReasonReady, "all streams and stages are ready"
	if rep.seen.Pipeline.Spec.Suspend {
		reason, message = v1alpha1.ReasonSuspended, "suspended: no workers run, streams go on storing events"
	}
	verdicts := []status.Verdict{accepted(rep), streamsReady(rep), stagesReady(rep)}
	if rep.powerSafe == nil {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionPowerSafe)
	} else {
		verdicts = append(verdicts, *rep.powerSafe)
	}
	status.Set(&s.Conditions, generation, now, reason, message, verdicts...)
}

// powerSafe says whether the NATS server is what durability PowerSafe demands; nil when that is
// not demanded. check asks the operator's own server.
func powerSafe(p *v1alpha1.Pipeline, check func() (durability.Answer, string)) *status.Verdict {
	const kind = v1alpha1.ConditionPowerSafe
	if p.Spec.Streams.Durability != v1alpha1.DurabilityPowerSafe {
		return nil
	}
	if p.Spec.NATS != nil && p.Spec.NATS.URL != "" {
		return new(status.Noted(kind, v1alpha1.ReasonNotVerified,
			"whether "+p.Spec.NATS.URL+" syncs every message is not known: the operator can ask its own NATS server alone (--nats-monitor-url)"))
	}
	switch answer, text := check(); answer {
	case durability.Synced:
		return new(status.True(kind, v1alpha1.ReasonSynced, text))
	case durability.NotSynced:
		return new(status.Stalled(kind, v1alpha1.ReasonNotSynced, text+"; events flow on meanwhile"))
	default:
		return new(status.Noted(kind, v1alpha1.ReasonNotVerified, text))
	}
}

// setFacts writes what is not a condition. What cannot be seen now stays as it was.
func setFacts(s *v1alpha1.PipelineStatus, rep report) {
	p := rep.seen.Resolved.Plan
	s.SubjectPrefix = p.SubjectPrefix
	if len(p.Ingress.Subjects) > 0 {
		s.Ingress = p.Ingress.Subjects[0]
	}
	stages := stagesInPlan(rep.seen)
	ready := 0
	s.Lag, s.Duplicates = nil, nil
	for _, stage := range stages {
		if stage != nil && isReady(stage) && isCurrent(rep.seen, stage) {
			ready++
		}
		if stage != nil && stage.Status.Lag != nil {
			s.Lag = new(value(s.Lag) + *stage.Status.Lag)
		}
		if stage != nil && stage.Status.Duplicates != nil {
			s.Duplicates = new(value(s.Duplicates) + stage.Status.Duplicates.Events)
		}
	}
	s.Stages = fmt.Sprintf("%d/%d", ready, len(stages))
	if rep.done.natsErr == nil {
		s.DeadLetters = deadLetterStatus(s.DeadLetters, rep)
		s.Streams = streamStatus(rep)
	}
}

// deadLetterStatus counts the dead letters that are stored and describes the last one; nil before there was any. Each
// dead letter is one event.
func deadLetterStatus(before *v1alpha1.DeadLettersStatus, rep report) *v1alpha1.DeadLettersStatus {
	stream := rep.seen.Streams[decide.DeadLetterStream(rep.seen.Resolved.Plan)]
	if stream == nil || (before == nil && stream.State.Msgs == 0) {
		return nil
	}
	now := &v1alpha1.DeadLettersStatus{Events: int64(stream.State.Msgs)}
	if before != nil {
		now.Last = before.Last
	}
	if n := len(rep.seen.DeadLetters); n > 0 {
		last := rep.seen.DeadLetters[n-1]
		now.Last = &v1alpha1.DeadLetterStatus{
			Sequence: int64(last.Sequence), Time: metav1.NewTime(last.Stored.Truncate(time.Second)),
			Stage: status.Cut(last.Stage, v1alpha1.MaxNameLength), Reason: status.Cut(last.Reason, v1alpha1.MaxDeadLetterReason),
			Message: status.Cut(last.Error, v1alpha1.MaxDeadLetterMessage),
		}
	}
	return now
}

func streamStatus(rep report) []v1alpha1.StreamStatus {
	var streams []v1alpha1.StreamStatus
	for _, change := range rep.intent.Streams {
		have := rep.done.streams[change.Name]
		if have == nil || change.Action == jetstream.ActionNotOwned {
			continue
		}
		streams = append(streams, v1alpha1.StreamStatus{
			Name: change.Name, Messages: int64(have.State.Msgs), Bytes: int64(have.State.Bytes),
		})
	}
	return streams
}

func accepted(rep report) status.Verdict {
	const kind = v1alpha1.ConditionAccepted
	if errs := rep.seen.Resolved.Errors; len(errs) > 0 {
		return status.Stalled(kind, v1alpha1.ReasonInvalid, errs.ToAggregate().Error())
	}
	message := "spec is valid"
	if n := len(rep.seen.Resolved.Refused); n > 0 {
		names := make([]string, 0, n)
		for name := range rep.seen.Resolved.Refused {
			names = append(names, name)
		}
		slices.Sort(names)
		message += "; attached stages that do not fit, see their status: " + strings.Join(names, ", ")
	}
	return status.True(kind, v1alpha1.ReasonAccepted, message)
}

func streamsReady(rep report) status.Verdict {
	const kind = v1alpha1.ConditionStreamsReady
	if rep.seen.Resolved.Plan == nil {
		return status.Unknown(kind, v1alpha1.ReasonInvalid, "the spec is refused; streams are left as they are")
	}
	if err := rep.done.natsErr; err != nil {
		return lifecycle.NATSFailed(kind, v1alpha1.ReasonStreamFailed, err)
	}
	if message := refusals(rep.intent.Streams, jetstream.ActionNotOwned, notOwned); message != "" {
		return status.Stalled(kind, v1alpha1.ReasonNotOwned, message)
	}
	if message := refusals(rep.intent.Streams, jetstream.ActionImmutable, immutable); message != "" {
		return status.Stalled(kind, v1alpha1.ReasonImmutable, message)
	}
	if message := failures(rep, rep.done.refusals); message != "" {
		return status.False(kind, v1alpha1.ReasonStreamFailed, message)
	}
	if message := failures(rep, rep.done.spared); message != "" {
		return status.True(kind, v1alpha1.ReasonReady, "all streams that the pipeline needs are as wanted; it keeps no snapshots, so that a worker "+
			"that takes a lane over reads more input again: "+message)
	}
	return status.True(kind, v1alpha1.ReasonReady, fmt.Sprintf("%d streams are as wanted", len(rep.intent.Streams)))
}

func refusals(changes []jetstream.StreamChange, action jetstream.Action, say func(jetstream.StreamChange) string) string {
	var said []string
	for _, c := range changes {
		if c.Action == action {
			said = append(said, say(c))
		}
	}
	return strings.Join(said, "; ")
}

func notOwned(c jetstream.StreamChange) string {
	remedy := "delete this Pipeline and create it again with a name of its own for this stream (spec.ingress.stream, spec.deadLetters.stream, " +
		"spec.insights.stream or output.stream of the stage; these fields are immutable)"
	if c.Bucket != "" {
		remedy = "delete it if nobody uses it, or make the Pipeline anew with a spec.subjectPrefix of its own"
	}
	return fmt.Sprintf("stream %s exists and %s: %s, or hand this one over by its metadata %s",
		c.Name, c.Owner, remedy, jetstream.MetadataPipeline)
}

func immutable(c jetstream.StreamChange) string {
	return fmt.Sprintf("stream %s has fields that cannot be changed in place (%s): set them back in the Pipeline, "+
		"or delete the stream with its messages and it is made anew", c.Name, c.Fields)
}

// failures says what could not be done about streams, by what NATS answered.
func failures(rep report, answers map[string]error) string {
	var said []string
	refused := map[string][]string{} // by the limit that they meet, which is the same for most
	for _, c := range rep.intent.Streams {
		err := answers[c.Name]
		limit := (*jetstream.LimitError)(nil)
		switch {
		case err == nil:
		case errors.As(err, &limit):
			refused[limit.Says] = append(refused[limit.Says], limit.Err.Error())
		default:
			said = append(said, err.Error())
		}
	}
	for _, says := range slices.Sorted(maps.Keys(refused)) {
		said = append(said, says+" ("+strings.Join(refused[says], "; ")+")")
	}
	return strings.Join(said, "; ")
}

func stagesReady(rep report) status.Verdict {
	const kind = v1alpha1.ConditionStagesReady
	if rep.seen.Resolved.Plan == nil {
		return status.Unknown(kind, v1alpha1.ReasonInvalid, "the spec is refused; stages are left as they are")
	}
	if message := taken(rep.seen); message != "" {
		return status.Stalled(kind, v1alpha1.ReasonNotOwned, message)
	}
	if err := rep.done.kubernetes; err != nil {
		return lifecycle.KubernetesFailed(kind, v1alpha1.ReasonStagesNotReady, err)
	}
	stages := stagesInPlan(rep.seen)
	var waiting, stalled []trouble
	serious := false // something else than work that is under way
	for _, planned := range rep.seen.Resolved.Plan.Stages {
		stage := stages[planned.Name]
		switch {
		case stage == nil:
			waiting = append(waiting, trouble{planned.Name, "being created"})
		case rep.done.applied[stage.Name], !isCurrent(rep.seen, stage):
			waiting = append(waiting, trouble{planned.Name, "being updated"})
		case meta.IsStatusConditionTrue(stage.Status.Conditions, v1alpha1.ConditionStalled):
			stalled = append(stalled, trouble{planned.Name, readyMessage(stage)})
		case !isReady(stage):
			serious = serious || !isProgressing(stage)
			waiting = append(waiting, trouble{planned.Name, readyMessage(stage)})
		case isSuspended(stage) != planned.Suspended:
			waiting = append(waiting, trouble{planned.Name, "being suspended or resumed"})
		}
	}
	for _, stage := range rep.intent.Prune {
		waiting = append(waiting, trouble{graph.Name(&stage), "being deleted"})
	}
	for _, stage := range rep.seen.Stages.Children {
		if !stage.DeletionTimestamp.IsZero() && graph.IsChildOf(&stage, rep.seen.Pipeline) {
			waiting = append(waiting, trouble{graph.Name(&stage), "being deleted: " + readyMessage(&stage)})
		}
	}
	message := strings.Join(append(once(stalled), once(waiting)...), "; ")
	switch {
	case len(stalled) > 0:
		return status.Stalled(kind, v1alpha1.ReasonStagesNotReady, message)
	case serious:
		return status.False(kind, v1alpha1.ReasonStagesNotReady, message)
	case len(waiting) > 0:
		return status.False(kind, v1alpha1.ReasonProgressing, message)
	default:
		return status.True(kind, v1alpha1.ReasonReady, fmt.Sprintf("%d stages are ready", len(stages)))
	}
}

// trouble is what a stage says.
type trouble struct{ stage, says string }

// once names the stages that say the same together: one NATS server that is away is one trouble.
func once(all []trouble) []string {
	var said []string
	by := map[string][]string{}
	for _, t := range all {
		if by[t.says] == nil {
			said = append(said, t.says)
		}
		by[t.says] = append(by[t.says], t.stage)
	}
	for i, says := range said {
		said[i] = strings.Join(by[says], ", ") + ": " + says
	}
	return said
}

func taken(s *decide.Observed) string {
	var said []string
	for _, entry := range s.Pipeline.Spec.Stages {
		name := plan.ChildName(s.Pipeline.Name, entry.Name)
		if stage := s.Taken[name]; stage != nil {
			said = append(said, fmt.Sprintf("stage %s needs the Stage object %s, which exists and belongs to pipeline %s: rename one of them",
				entry.Name, name, stage.Spec.PipelineRef.Name))
		}
	}
	return strings.Join(said, "; ")
}

// stagesInPlan are the Stage objects of the plan by name in the graph; nil where there is
// none yet.
func stagesInPlan(s *decide.Observed) map[string]*v1alpha1.Stage {
	stages := map[string]*v1alpha1.Stage{}
	for _, planned := range s.Resolved.Plan.Stages {
		stages[planned.Name] = nil
	}
	for _, stage := range decide.Stages(s.Stages, s.Pipeline) {
		if s.Resolved.Node(stage) != nil {
			stages[graph.Name(stage)] = stage
		}
	}
	return stages
}

// isCurrent reports whether what a Stage says is about its newest revision.
func isCurrent(s *decide.Observed, stage *v1alpha1.Stage) bool {
	newest := s.Running[stage.Name].History.Newest()
	return newest != nil && stage.Status.ObservedRevision == newest.Name
}

// isReady reports whether a Stage is ready and says so of its present spec.
func isReady(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == stage.Generation
}

// isProgressing reports whether a Stage is not ready because of work that is under way.
func isProgressing(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionReady)
	return c == nil || c.ObservedGeneration != stage.Generation || c.Reason == v1alpha1.ReasonProgressing || c.Reason == v1alpha1.ReasonEventsLeft
}

// isSuspended reports whether a Stage says that it rests.
func isSuspended(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonSuspended
}

func readyMessage(stage *v1alpha1.Stage) string {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.ObservedGeneration != stage.Generation {
		return "not looked at yet"
	}
	return c.Message
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
