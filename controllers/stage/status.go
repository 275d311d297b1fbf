package stage

import (
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
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// report is all that status is made from.
type report struct {
	seen   *decide.Observed
	intent decide.Desired
	done   outcome
}

// setStatus writes the whole status, every condition in every case.
func setStatus(s *v1alpha1.StageStatus, rep report, now time.Time) {
	stage := rep.seen.Stage
	s.ObservedGeneration = stage.Generation
	s.Selector = k8slabels.SelectorFromSet(labels.Selector(stage.Spec.PipelineRef.Name, graph.Name(stage))).String()
	s.Replicas, s.ReadyWorkers = 0, 0
	if d := rep.seen.Deployment; d != nil {
		s.Replicas, s.ReadyWorkers = d.Status.Replicas, d.Status.ReadyReplicas
	}
	if newest := rep.seen.Newest; newest != nil {
		s.Kind, s.ObservedRevision = string(newest.Kind), newest.Name
	}
	if len(rep.intent.Consumers) > 0 && rep.done.natsErr == nil {
		setLag(s, rep, now)
	}
	if rep.seen.Newest != nil && rep.done.natsErr == nil {
		s.Duplicates = rep.seen.Duplicates
	}
	if w := rep.intent.Workers; w != nil { // else what runs goes on as it is
		s.Autoscaling = autoscale.Status(rep.seen.Scaling, w.Autoscaling, w.Replicas, s.Autoscaling)
	}
	if rep.intent.Workers != nil && (rep.seen.Deployment != nil || rep.done.deployment != apply.Unchanged) {
		s.Revision = rep.intent.Run.Name
	}
	reason, message := v1alpha1.ReasonReady, "consumers and workers are ready"
	if head := chainedWith(rep); head != "" {
		message = "Chained with " + head
	}
	if rep.seen.Newest != nil && rep.seen.Newest.Suspended {
		reason, message = v1alpha1.ReasonSuspended, "suspended: no workers run, the input goes on being stored"
	}
	verdicts := []status.Verdict{accepted(rep), consumersReady(rep), workersAvailable(rep)}
	for _, some := range [...]struct { // stages have these, or not
		kind    string
		verdict *status.Verdict
	}{
		{v1alpha1.ConditionInputsDrained, formerInputs(rep)},
		{v1alpha1.ConditionAutoscalingReady, autoscalingReady(rep)},
		{v1alpha1.ConditionBreakersClosed, breakersClosed(rep)},
	} {
		if some.verdict != nil {
			verdicts = append(verdicts, *some.verdict)
		} else {
			meta.RemoveStatusCondition(&s.Conditions, some.kind)
		}
	}
	status.Set(&s.Conditions, stage.Generation, now, reason, message, verdicts...)
}

// autoscalingReady says whether the number of workers follows the lag; nil where nobody asked for that.
func autoscalingReady(rep report) *status.Verdict {
	if rep.intent.Workers == nil {
		return nil
	}
	return autoscale.Ready(rep.seen.Workload(), rep.seen.Scaling, rep.intent.Workers.Autoscaling, rep.done.taken)
}

// setLag writes what the consumers say. While NATS is away the last known values stay.
func setLag(s *v1alpha1.StageStatus, rep report, now time.Time) {
	before := s.Consumers
	s.Lag, s.LagSeconds, s.Consumers = nil, nil, nil
	var sum intake.Sum
	known := true
	lanes := rep.intent.Consumers
	for _, in := range rep.seen.Intake.Inputs {
		entry, all := inputStatus(in, lanes[:len(in.Lanes)], rep, before)
		lanes, known = lanes[len(in.Lanes):], known && all
		if entry != nil {
			s.Consumers = append(s.Consumers, *entry)
		}
		for _, lane := range in.Lanes {
			sum.Add(lane)
		}
	}
	for _, f := range slices.Concat(rep.intent.Held, rep.intent.Lost) {
		if len(s.Consumers) < v1alpha1.MaxConsumers {
			s.Consumers = append(s.Consumers, formerStatus(f))
		}
		sum.Events, sum.Oldest = sum.Events+f.Events, intake.Older(sum.Oldest, f.Oldest)
	}
	if !known {
		return
	}
	s.Lag, s.LagSeconds = new(sum.Events), new(int64(0))
	if !sum.Oldest.IsZero() {
		s.LagSeconds = new(max(int64(now.Sub(sum.Oldest)/time.Second), 0))
	}
}

// inputStatus is what the consumers of one input say; nil when there is none. One that was there and waits for its stream goes on
// being named, so that it is known to have been lost. known says whether the lag of all of them is.
func inputStatus(in intake.Input, lanes []decide.Consumer, rep report, before []v1alpha1.ConsumerStatus) (entry *v1alpha1.ConsumerStatus, known bool) {
	e := v1alpha1.ConsumerStatus{Stream: in.Stream, Name: in.Durable, Lanes: int32(len(in.Lanes))}
	was := slices.ContainsFunc(before, func(b v1alpha1.ConsumerStatus) bool {
		return b.Stream == e.Stream && b.Name == e.Name && b.Lanes == e.Lanes
	})
	e.Backlog = backlogOf(e, before)
	var anew *v1alpha1.BacklogStatus // of the consumers of now, where there are any
	known = true
	for _, c := range lanes {
		have := rep.done.consumers[key(c.Stream, c.Name)]
		if have == nil || c.Action.Refused() {
			known = false
			if c.StreamMissing && was {
				entry = &e
			}
			continue
		}
		entry = &e
		e.Pending += int64(have.Pending)
		e.AckPending += int64(have.AckPending)
		e.Redelivered += int64(have.Redelivered)
		if found, ok := rep.done.backlogs[key(c.Stream, c.Name)]; ok {
			anew = addBacklog(anew, have.Created, found)
		}
		known = known && (c.Lane.Have != nil || have.Pending == 0)
	}
	if anew != nil {
		e.Backlog = anew
	}
	return entry, known
}

// formerStatus is what the consumers of an input that is not to be read any more say.
func formerStatus(f intake.Former) v1alpha1.ConsumerStatus {
	var sum intake.Sum
	for _, lane := range f.Consumers {
		sum.Add(lane)
	}
	return v1alpha1.ConsumerStatus{
		Stream: f.Stream, Name: f.Durable, Lanes: int32(f.Lanes),
		Pending: int64(sum.Pending), AckPending: int64(sum.AckPending), Redelivered: int64(sum.Redelivered),
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
		now.Oldest = metav1.NewTime(intake.Older(sum.Oldest.Time, now.Oldest.Time))
	}
	return &now
}

// accepted is what the Pipeline controller says of the Stage, which Ready hangs on. That it has looked at another generation says
// nothing of this one. For a new child, the first revision says that it is accepted. The Pipeline controller
// adds the rest.
func accepted(rep report) status.Verdict {
	const kind = v1alpha1.ConditionAccepted
	stage := rep.seen.Stage
	c := meta.FindStatusCondition(stage.Status.Conditions, kind)
	if c == nil && graph.IsChild(stage) && rep.seen.Newest != nil && rep.seen.Newest.Marks.Of(stage) {
		return status.True(kind, v1alpha1.ReasonAccepted, "spec is valid")
	}
	if c == nil || c.ObservedGeneration != stage.Generation {
		return status.Elsewhere(status.Unknown(kind, v1alpha1.ReasonProgressing, "not yet part of a plan of Pipeline "+stage.Spec.PipelineRef.Name))
	}
	v := status.Kept(c)
	if c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonInvalid {
		v.Outlook = status.Blocked
	}
	return status.Elsewhere(v)
}

// formerInputs says what becomes of inputs that the stage had; nil when there are none, or nobody is at work on
// them: they wait for workers then, as the inputs of the manifest do.
func formerInputs(rep report) *status.Verdict {
	stage := rep.seen.Stage
	if rep.seen.Newest == nil || rep.seen.NATSErr != nil || rep.intent.OtherLanes != "" {
		if c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil {
			v := status.Kept(c)
			if c.Reason == v1alpha1.ReasonRevisionLost {
				v.Outlook = status.Blocked
			}
			return &v
		}
		return nil
	}
	if len(rep.intent.Held) > 0 && atWork(rep) {
		return inputsDrained(stage, rep.intent.Held, "the workers are replaced and read what the manifest says")
	}
	return inputsLost(stage, rep.intent.Lost)
}

// atWork says whether workers are there, or are about to be.
func atWork(rep report) bool {
	if rep.intent.Workers != nil {
		return rep.intent.Workers.Replicas > 0
	}
	d := rep.seen.Deployment
	return d != nil && revision.Replicas(d) > 0
}

func consumersReady(rep report) status.Verdict {
	const kind = v1alpha1.ConditionConsumersReady
	if rep.seen.Newest == nil {
		return status.Unknown(kind, v1alpha1.ReasonProgressing, "the stage has no revision, or its newest was deleted; consumers are left as they are")
	}
	if err := rep.done.natsErr; err != nil {
		return lifecycle.NATSFailed(kind, v1alpha1.ReasonConsumerFailed, err)
	}
	if rep.intent.OtherLanes != "" {
		return status.Stalled(kind, v1alpha1.ReasonInvalid, rep.intent.OtherLanes)
	}
	if head := chainedWith(rep); head != "" {
		return status.True(kind, v1alpha1.ReasonReady, "Chained with "+head+": takes events in memory, without consumers")
	}
	problems := map[string][]string{}
	for _, c := range rep.intent.Consumers {
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
	return status.True(kind, v1alpha1.ReasonReady, fmt.Sprintf("%d consumers are as wanted", len(rep.intent.Consumers)))
}

// chainedWith names the stage in whose workers this one runs; empty when it has its own.
func chainedWith(rep report) string {
	if rep.seen.Newest == nil {
		return ""
	}
	return rep.seen.Newest.Head
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

func consumerProblem(rep report, c decide.Consumer) (reason, message string) {
	switch {
	case c.StreamMissing:
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
	d := rep.seen.Deployment
	if head := chainedWith(rep); head != "" {
		return status.True(kind, v1alpha1.ReasonReady, "Chained with "+head+": runs in its workers")
	}
	switch {
	case rep.intent.Refused != nil:
		return status.Stalled(kind, v1alpha1.ReasonWorkersUnavailable, "workers are left as they are: "+rep.intent.Refused.Error())
	case rep.intent.OtherLanes != "":
		return status.Unknown(kind, v1alpha1.ReasonInvalid, "workers are left as they are")
	case rep.seen.Newest == nil:
		return status.Unknown(kind, v1alpha1.ReasonProgressing, "the stage has no revision, or its newest was deleted; workers are left as they are")
	case rep.seen.Taken != "":
		return status.Stalled(kind, v1alpha1.ReasonNotOwned, fmt.Sprintf(
			"Deployment %s belongs to %s and is left alone: delete it, or name the stage otherwise", rep.seen.Stage.Name, rep.seen.Taken))
	case access.IsCredentials(rep.done.natsErr):
		return status.Unknown(kind, access.Reason(rep.done.natsErr), "workers are left as they are: whether they may have the Secret is not known, or they may not")
	case rep.seen.Unpaired[rep.intent.Run.Name]:
		return status.Stalled(kind, v1alpha1.ReasonCredentialsNotForServer, "workers are left as they are: they have to be of revision "+rep.intent.Run.Name+
			", whose Secret is not for its server, or not for the Pipeline. "+howToLeave(rep.seen.Stage))
	case rep.done.kubernetes != nil:
		return lifecycle.KubernetesFailed(kind, v1alpha1.ReasonWorkersUnavailable, rep.done.kubernetes)
	case d == nil && rep.done.deployment == apply.Unchanged:
		return status.False(kind, v1alpha1.ReasonProgressing, "workers start when the consumers are ready")
	case d == nil || rep.done.deployment != apply.Unchanged || d.Status.ObservedGeneration < d.Generation:
		return beginning(kind)
	}
	v := judge(d, rep.intent.Workers.Replicas, rep.seen.Newest.Suspended)
	if rep.intent.Workers.Earlier && v.Status == metav1.ConditionTrue {
		v.Message += fmt.Sprintf(", as an earlier release of the operator made them; to replace them: kubectl -n %s annotate stages.millrace.dev %s --overwrite %s=\"$(date)\"",
			rep.seen.Stage.Namespace, rep.seen.Stage.Name, v1alpha1.AnnotationRestart)
	}
	return v
}

// beginning is the verdict on a Deployment that has no pods yet.
func beginning(kind string) status.Verdict {
	return status.False(kind, v1alpha1.ReasonProgressing, "the Deployment is being rolled out")
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
	case s.Replicas == 0: // the same message as before: no second write of the status
		return beginning(kind)
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
