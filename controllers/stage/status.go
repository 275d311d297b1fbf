package stage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/status"
)

// report is all that status is made from.
type report struct {
	seen   *snapshot
	intent intent
	done   outcome
}

// setStatus writes the whole status, every condition in every case.
func setStatus(s *v1alpha1.StageStatus, rep report, now time.Time) {
	stage := rep.seen.stage
	s.ObservedGeneration = stage.Generation
	s.Selector = k8slabels.SelectorFromSet(labels.Selector(stage.Spec.PipelineRef.Name, graph.Name(stage))).String()
	s.Replicas, s.ReadyWorkers = 0, 0
	if d := rep.seen.deployment; d != nil {
		s.Replicas, s.ReadyWorkers = d.Status.Replicas, d.Status.ReadyReplicas
	}
	if rep.seen.node != nil {
		s.Kind = string(rep.seen.node.Config.Kind)
	}
	if len(rep.intent.consumers) > 0 && rep.done.natsErr == nil {
		setLag(s, rep, now)
	}
	if rep.seen.node != nil && rep.done.natsErr == nil {
		s.Duplicates = rep.seen.duplicates
	}
	s.Autoscaling = autoscalingStatus(rep)
	s.Revision = rep.seen.revisionName() // of a Stage whose status was lost, the Deployment knows
	if rep.done.revision != "" {
		s.Revision = rep.done.revision
	}
	reason, message := v1alpha1.ReasonReady, "consumers and workers are ready"
	if head := chainedWith(rep); head != "" {
		message = "Chained with " + head
	}
	if rep.seen.node != nil && rep.seen.node.Suspended {
		reason, message = v1alpha1.ReasonSuspended, "suspended: no workers run, the input goes on being stored"
	}
	verdicts := []status.Verdict{accepted(rep), consumersReady(rep), workersAvailable(rep)}
	if v := formerInputs(rep); v != nil {
		verdicts = append(verdicts, *v)
	} else {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionInputsDrained)
	}
	if v := autoscalingReady(rep); v != nil {
		verdicts = append(verdicts, *v)
	} else {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionAutoscalingReady)
	}
	status.Set(&s.Conditions, stage.Generation, now, reason, message, verdicts...)
}

// setLag writes what the consumers say. While NATS is away the last known values stay. A
// consumer that was there and waits for its stream goes on being named, so that it is known to
// have been lost.
func setLag(s *v1alpha1.StageStatus, rep report, now time.Time) {
	before := s.Consumers
	s.Lag, s.LagSeconds, s.Consumers = nil, nil, nil
	var events int64
	var oldest time.Time
	known := true
	lanes := rep.seen.node.Lanes
	for i, c := range rep.intent.consumers {
		from := rep.seen.node.Config.Inputs[i/lanes]
		entry := v1alpha1.ConsumerStatus{Stream: from.Stream, Name: from.Durable, Lanes: int32(lanes)}
		named := slices.ContainsFunc(before, func(b v1alpha1.ConsumerStatus) bool {
			return b.Stream == entry.Stream && b.Name == entry.Name && b.Lanes == entry.Lanes
		})
		have := rep.done.consumers[key(c.Stream, c.Name)]
		missing := have == nil || c.Action.Refused()
		known = known && !missing
		if missing && !(c.streamMissing && named) {
			continue
		}
		if n := len(s.Consumers); n == 0 || s.Consumers[n-1].Stream != entry.Stream || s.Consumers[n-1].Name != entry.Name {
			entry.Backlog = backlogOf(entry, before)
			s.Consumers = append(s.Consumers, entry)
		}
		if missing {
			continue
		}
		sum := &s.Consumers[len(s.Consumers)-1]
		sum.Pending += int64(have.Pending)
		sum.AckPending += int64(have.AckPending)
		sum.Redelivered += int64(have.Redelivered)
		if found, ok := rep.done.backlogs[key(c.Stream, c.Name)]; ok {
			if sum.Backlog == backlogOf(entry, before) { // of consumers before these
				sum.Backlog = nil
			}
			sum.Backlog = addBacklog(sum.Backlog, have.Created, found)
		}
		in := rep.seen.inputs[i]
		known = known && (in.have != nil || have.Pending == 0)
		events += in.lag.Events
		oldest = older(oldest, in.lag.Oldest)
	}
	for _, f := range slices.Concat(rep.intent.held, rep.intent.lost) { // still named, so that they are known
		if len(s.Consumers) < v1alpha1.MaxConsumers {
			s.Consumers = append(s.Consumers, f.entry)
		}
		events += f.events
		oldest = older(oldest, f.oldest)
	}
	if !known {
		return
	}
	s.Lag, s.LagSeconds = new(events), new(int64(0))
	if !oldest.IsZero() {
		s.LagSeconds = new(max(int64(now.Sub(oldest)/time.Second), 0))
	}
}

// backlogOf is what status says of the consumers of an input already.
func backlogOf(entry v1alpha1.ConsumerStatus, before []v1alpha1.ConsumerStatus) *v1alpha1.BacklogStatus {
	for _, b := range before {
		if b.Stream == entry.Stream && b.Name == entry.Name {
			return b.Backlog
		}
	}
	return nil
}

// addBacklog adds what one consumer found when it was made to that of the others of its input.
func addBacklog(sum *v1alpha1.BacklogStatus, created time.Time, found jetstream.Lag) *v1alpha1.BacklogStatus {
	now := v1alpha1.BacklogStatus{
		Created: metav1.NewTime(created.Truncate(time.Second)), Events: found.Events, Oldest: metav1.NewTime(found.Oldest.Truncate(time.Second)),
	}
	if sum != nil {
		now.Created, now.Events = sum.Created, now.Events+sum.Events
		now.Oldest = metav1.NewTime(older(sum.Oldest.Time, now.Oldest.Time))
	}
	return &now
}

func accepted(rep report) status.Verdict {
	const kind = v1alpha1.ConditionAccepted
	s := rep.seen
	ref := s.stage.Spec.PipelineRef.Name
	if s.pipeline == nil {
		return status.False(kind, v1alpha1.ReasonPipelineNotFound, fmt.Sprintf(
			"spec.pipelineRef: Pipeline %s does not exist in namespace %s: create it or delete this Stage", ref, s.stage.Namespace))
	}
	if errs := s.resolved.Refused[s.stage.Name]; len(errs) > 0 && !graph.IsChild(s.stage) {
		return status.Stalled(kind, v1alpha1.ReasonInvalid, errs.ToAggregate().Error())
	}
	if len(s.resolved.Errors) > 0 {
		return status.Stalled(kind, v1alpha1.ReasonInvalid, fmt.Sprintf(
			"Pipeline %s is refused, see its status; this stage goes on as it was", ref))
	}
	if s.node == nil {
		return status.False(kind, v1alpha1.ReasonProgressing, fmt.Sprintf("Pipeline %s does not name this stage any more", ref))
	}
	if why := rep.intent.otherLanes; why != "" {
		return status.Stalled(kind, v1alpha1.ReasonInvalid, "from: "+why)
	}
	message := "the spec makes sense"
	if s.node.Head != "" {
		if s.stage.Spec.Replicas != nil {
			message += "; spec.replicas is ignored: the stage runs in the workers of " + s.node.Head
		}
		return status.True(kind, v1alpha1.ReasonAccepted, message)
	}
	if n, lanes := replicas(s.stage, s.node), s.node.Lanes; int(n) > lanes {
		message += fmt.Sprintf("; of %d workers %d stand by: there are no more lanes than %d", n, int(n)-lanes, lanes)
	}
	return status.True(kind, v1alpha1.ReasonAccepted, message)
}

// formerInputs says what becomes of inputs that the stage had; nil when there are none, or nobody is at work on
// them: they wait for workers then, as the inputs of the manifest do.
func formerInputs(rep report) *status.Verdict {
	stage := rep.seen.stage
	if rep.seen.unsure() || rep.intent.otherLanes != "" {
		if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil {
			return &status.Verdict{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message}
		}
		return nil
	}
	if len(rep.intent.held) > 0 && atWork(rep) {
		return inputsDrained(stage, rep.intent.held, "the workers are replaced and read what the manifest says")
	}
	return inputsLost(stage, rep.intent.lost)
}

// atWork says whether workers are there, or are about to be.
func atWork(rep report) bool {
	if rep.intent.workers != nil {
		return rep.intent.workers.replicas > 0
	}
	d := rep.seen.deployment
	return d != nil && specReplicas(d) > 0
}

func consumersReady(rep report) status.Verdict {
	const kind = v1alpha1.ConditionConsumersReady
	if rep.seen.node == nil {
		return status.Unknown(kind, v1alpha1.ReasonProgressing, "the stage is not in a plan; consumers are left as they are")
	}
	if err := rep.done.natsErr; err != nil {
		return status.False(kind, cmp.Or(access.Reason(err), v1alpha1.ReasonConsumerFailed), err.Error())
	}
	if rep.intent.otherLanes != "" {
		return status.Unknown(kind, v1alpha1.ReasonInvalid, "the spec is refused; consumers are left as they are")
	}
	if head := chainedWith(rep); head != "" {
		return status.True(kind, v1alpha1.ReasonReady, "Chained with "+head+": takes events in memory, without consumers")
	}
	problems := map[string][]string{}
	for _, c := range rep.intent.consumers {
		if reason, message := consumerProblem(rep, c); reason != "" {
			problems[reason] = append(problems[reason], message)
		}
	}
	for _, reason := range []string{v1alpha1.ReasonNotOwned, v1alpha1.ReasonImmutable} {
		if said := problems[reason]; len(said) > 0 {
			return status.Stalled(kind, reason, few(said))
		}
	}
	for _, reason := range []string{v1alpha1.ReasonStreamMissing, v1alpha1.ReasonConsumerFailed} {
		if said := problems[reason]; len(said) > 0 {
			return status.False(kind, reason, few(said))
		}
	}
	return status.True(kind, v1alpha1.ReasonReady, fmt.Sprintf("%d consumers are as wanted", len(rep.intent.consumers)))
}

// chainedWith names the stage in whose workers this one runs; empty when it has its own.
func chainedWith(rep report) string {
	if rep.seen.node == nil {
		return ""
	}
	return rep.seen.node.Head
}

// few says each thing once, and of many the first: lanes share their troubles.
func few(said []string) string {
	const enough = 4
	said = slices.Compact(said)
	if n := len(said); n > enough {
		said = append(said[:enough:enough], fmt.Sprintf("and %d more", n-enough))
	}
	return strings.Join(said, "; ")
}

func consumerProblem(rep report, c consumer) (reason, message string) {
	switch {
	case c.streamMissing:
		return v1alpha1.ReasonStreamMissing, fmt.Sprintf("waiting for stream %s, which the Pipeline makes", c.Stream)
	case c.Action == jetstream.ActionNotOwned:
		return v1alpha1.ReasonNotOwned, fmt.Sprintf(
			"consumer %s of stream %s %s: delete or rename what is in the way, or hand it over by its metadata %s",
			c.Name, c.Stream, c.Owner, jetstream.MetadataPipeline)
	case c.Action == jetstream.ActionImmutable:
		return v1alpha1.ReasonImmutable, fmt.Sprintf(
			"consumer %s of stream %s has fields that cannot be changed in place (%s): delete the consumer and it is made anew, "+
				"from the first stored event", c.Name, c.Stream, c.Fields)
	}
	if err := rep.done.refusals[key(c.Stream, c.Name)]; err != nil {
		return v1alpha1.ReasonConsumerFailed, err.Error()
	}
	return "", ""
}

func workersAvailable(rep report) status.Verdict {
	const kind = v1alpha1.ConditionWorkersAvailable
	d := rep.seen.deployment
	if head := chainedWith(rep); head != "" {
		return status.True(kind, v1alpha1.ReasonReady, "Chained with "+head+": runs in its workers")
	}
	switch {
	case isEdited(rep.intent.refused):
		return status.Stalled(kind, v1alpha1.ReasonRevisionEdited, rep.intent.refused.Error())
	case rep.intent.refused != nil:
		return status.Stalled(kind, v1alpha1.ReasonWorkersUnavailable, "workers are left as they are: "+rep.intent.refused.Error())
	case rep.intent.otherLanes != "":
		return status.Unknown(kind, v1alpha1.ReasonInvalid, "the spec is refused; workers are left as they are")
	case rep.intent.workers == nil:
		return status.Unknown(kind, v1alpha1.ReasonProgressing, "the stage is not in a plan; workers are left as they are")
	case rep.done.kubernetes != nil:
		return status.False(kind, v1alpha1.ReasonWorkersUnavailable, rep.done.kubernetes.Error())
	case d == nil && rep.done.deployment == apply.Unchanged:
		return status.False(kind, v1alpha1.ReasonProgressing, "workers start when the consumers are ready")
	case d == nil || rep.done.deployment != apply.Unchanged || d.Status.ObservedGeneration < d.Generation:
		return status.False(kind, v1alpha1.ReasonProgressing, "the Deployment is being rolled out")
	}
	v := judge(d, rep.intent.workers.replicas, rep.seen.node.Suspended)
	if rep.intent.workers.earlier && v.Status == metav1.ConditionTrue {
		v.Message += fmt.Sprintf(", as an earlier release of the operator made them; to replace them: kubectl -n %s annotate stages.millrace.dev %s --overwrite %s=\"$(date)\"",
			rep.seen.stage.Namespace, rep.seen.stage.Name, v1alpha1.AnnotationRestart)
	}
	return v
}

// judge says how a Deployment that the API has caught up with is doing.
func judge(d *appsv1.Deployment, wanted int32, suspended bool) status.Verdict {
	const kind = v1alpha1.ConditionWorkersAvailable
	s := d.Status
	if wanted == 0 {
		if s.Replicas > 0 {
			return status.False(kind, v1alpha1.ReasonProgressing, fmt.Sprintf("%d workers are draining", s.Replicas))
		}
		if suspended {
			return status.True(kind, v1alpha1.ReasonSuspended, "suspended: no workers run")
		}
		return status.True(kind, v1alpha1.ReasonReady, "scaled to zero: no workers run")
	}
	message := fmt.Sprintf("%d of %d workers are ready", s.ReadyReplicas, wanted)
	if trouble := trouble(d); trouble != "" {
		return status.False(kind, v1alpha1.ReasonWorkersUnavailable, message+": "+trouble)
	}
	switch {
	case s.UpdatedReplicas < wanted || s.Replicas > s.UpdatedReplicas:
		return status.False(kind, v1alpha1.ReasonProgressing, message+": the Deployment is being rolled out; when that takes long, see the pods' events and logs")
	case s.ReadyReplicas < wanted:
		return status.False(kind, v1alpha1.ReasonProgressing, message+": see the pods' events and logs")
	}
	return status.True(kind, v1alpha1.ReasonReady, message)
}

// trouble is what the Deployment says of itself when it cannot get its pods or has waited
// too long for them.
func trouble(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}
