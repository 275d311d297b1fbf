package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
)

// A stage that is deleted, or that is to read something else, first processes what was stored for it until
// then: nothing is lost when the graph of a running pipeline changes. What comes later is for the graph as
// it is now.

// former is an input that the stage had and that it is not to have any more.
type former struct {
	entry v1alpha1.ConsumerStatus
	// lanes are the consumers that exist and are the stage's.
	lanes []durable
	// events that are stored and not processed, and when the oldest was stored.
	events int64
	oldest time.Time
	// begun: a worker has read some of it.
	begun bool
	// found: only its consumers tell of it, so nobody knows whether a worker was to read it.
	found bool
}

// skew is how far the clocks of Kubernetes and NATS may differ, and more than the fraction of a second that
// the times of Kubernetes lack.
const skew = 5 * time.Second

// gatherFormer reads the consumers of an input that the stage had, but for those that are wanted.
func gatherFormer(ctx context.Context, nats *jetstream.Client, entry v1alpha1.ConsumerStatus, owner jetstream.Owner, wanted []plan.Consumer) (former, error) {
	f := former{entry: entry}
	names := graph.Former(entry, wanted)
	if len(names) == 0 {
		return f, nil
	}
	have, err := readConsumers(nats, entry.Stream, names)
	if err != nil {
		return f, err
	}
	for _, name := range names {
		consumer := have[name]
		if consumer == nil || !owner.Owns(consumer.Config.Metadata) {
			continue
		}
		f.lanes = append(f.lanes, durable{entry.Stream, name})
		f.begun = f.begun || consumer.Acked > 0 || consumer.AckPending > 0
		lag, err := nats.Lag(ctx, entry.Stream, consumer)
		if err != nil {
			return f, ignoreNotFound(err)
		}
		f.events += lag.Events
		f.oldest = older(f.oldest, lag.Oldest)
	}
	return f, nil
}

// older is the earlier of two times, of which zero is none.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// drained says whether nothing is left that was stored before a moment; of all that is stored when the
// moment is zero.
func (f former) drained(before time.Time) bool {
	return f.events == 0 || !before.IsZero() && f.oldest.After(before.Add(skew))
}

// held are the former inputs that the workers go on reading for a while: those of their revision, whether there
// are workers just now or not. lost are inputs with events left that it does not read: the revision that did is
// gone, so that nobody processes them, and nobody but a person may say that nobody has to. What no worker ever read is
// neither: the manifest named it and did not any more before workers came to it.
func (s *snapshot) held() (held, lost []former) {
	if len(s.former) == 0 || leaves(s.stage) {
		return nil, nil
	}
	var since time.Time
	have := s.revision()
	gone := have == nil && s.revisionName() != ""
	// Workers that run do not read what somebody wrote over their revision.
	edited := have != nil && !isIntact(s.stage.Name, have)
	if c := meta.FindStatusCondition(s.stage.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil {
		since = c.LastTransitionTime.Time
		gone = gone || c.Reason == v1alpha1.ReasonRevisionLost
	}
	for _, f := range s.former {
		left := f.events > 0 && (since.IsZero() || !f.drained(since))
		switch {
		case edited || have != nil && among(inputsOf(have), f.entry):
			if left || s.leaving { // what other stages still make of what they are to process comes in
				held = append(held, f)
			}
		case left && (gone || f.begun || f.found):
			lost = append(lost, f)
		}
	}
	return held, lost
}

// unsure says that there may be former inputs, and that NATS could not be asked for them.
func (s *snapshot) unsure() bool {
	if s.natsErr == nil || s.node == nil || leaves(s.stage) {
		return false
	}
	have := s.revision()
	return meta.IsStatusConditionFalse(s.stage.Status.Conditions, v1alpha1.ConditionInputsDrained) ||
		len(s.stage.Status.Consumers) == 0 && have != nil && !isIntact(s.stage.Name, have) ||
		slices.ContainsFunc(knownInputs(s.stage, have), func(c v1alpha1.ConsumerStatus) bool { return len(graph.Former(c, s.node.Consumers)) > 0 })
}

// leaves says that a person has said to leave what is not processed.
func leaves(stage *v1alpha1.Stage) bool {
	return stage.Annotations[v1alpha1.AnnotationDrain] == "false"
}

// isLeaving says whether some stage of the pipeline, but this one, is being deleted.
func isLeaving(stages graph.Stages, but *v1alpha1.Stage) bool {
	for _, s := range slices.Concat(stages.Children, stages.Attached) {
		if s.UID != but.UID && !s.DeletionTimestamp.IsZero() {
			return true
		}
	}
	return false
}

// inputsDrained is nil when the workers read nothing but what they are to read.
func inputsDrained(stage *v1alpha1.Stage, held []former, then string) *status.Verdict {
	if len(held) == 0 {
		return nil
	}
	streams, events := sumUp(held)
	return new(status.False(v1alpha1.ConditionInputsDrained, v1alpha1.ReasonEventsLeft, fmt.Sprintf(
		"the workers go on with what was stored in %s before the change: about %d events are left; then %s. %s",
		streams, events, then, howToLeave(stage))))
}

// inputsLost is nil when workers read all former inputs that have something left.
func inputsLost(stage *v1alpha1.Stage, lost []former) *status.Verdict {
	if len(lost) == 0 {
		return nil
	}
	streams, events := sumUp(lost)
	return new(status.Stalled(v1alpha1.ConditionInputsDrained, v1alpha1.ReasonRevisionLost, fmt.Sprintf(
		"no worker reads what was stored in %s before the change, about %d events: the ConfigMap of the revision that did is gone. The positions are kept. "+
			"To have the events processed, name the input in from again until they are. %s", streams, events, howToLeave(stage))))
}

// sumUp names the streams of inputs, and counts what is left in them.
func sumUp(inputs []former) (streams string, events int64) {
	var names []string
	for _, f := range inputs {
		names = append(names, f.entry.Stream)
		events += f.events
	}
	return strings.Join(slices.Compact(names), ", "), events
}

func howToLeave(stage *v1alpha1.Stage) string {
	return fmt.Sprintf("To leave them unprocessed: kubectl -n %s annotate stages.millrace.dev %s %s=false", stage.Namespace, stage.Name, v1alpha1.AnnotationDrain)
}

// drain reports whether a Stage that is being deleted has to wait, and says so in its status. It waits
// while its workers have not processed what was stored for it before the deletion, and for stages that it
// reads and that are deleted, too.
func (r *Reconciler) drain(ctx context.Context, stage *v1alpha1.Stage) (waits bool, err error) {
	stages, drains, err := r.drains(ctx, stage)
	if err != nil || !drains {
		return false, err
	}
	nats, err := r.clientFor(ctx, stage)
	if err != nil {
		return false, err
	}
	have, err := r.revisionOf(ctx, stage)
	if err != nil {
		return false, err
	}
	var read []config.Input
	if have != nil {
		read = inputsOf(have)
	}
	owner := access.StageOwner(stage, r.Settings.Cluster)
	inputs, err := inputsLeft(nats, stage, have, owner)
	if err != nil {
		return false, err
	}
	before, upstream := boundary(stage, stages)
	var left, lost []former
	for _, entry := range inputs {
		f, err := gatherFormer(ctx, nats, entry, owner, nil)
		if err != nil {
			return false, err
		}
		switch {
		case len(read) > 0 && !among(read, entry): // nor will they: there is no other revision any more
			if f.events > 0 {
				lost = append(lost, f)
			}
		case upstream != "" || !f.drained(before):
			left = append(left, f)
		}
	}
	then := "the stage is deleted"
	if upstream != "" {
		then = "and those that stage " + upstream + " makes until it is gone, " + then
	}
	verdict := inputsDrained(stage, left, then)
	if verdict == nil {
		if len(lost) > 0 {
			streams, events := sumUp(lost)
			r.eventUnprocessed(ctx, stage, fmt.Sprintf("no worker reads %s, where about %d events are left", streams, events))
		}
		return false, nil
	}
	if r.Now().Sub(stage.DeletionTimestamp.Time) > r.DrainTimeout {
		r.eventUnprocessed(ctx, stage, fmt.Sprintf("gave up after %s: %s", r.DrainTimeout, verdict.Message))
		return false, nil
	}
	old := stage.DeepCopy()
	status.Set(&stage.Status.Conditions, stage.Generation, r.Now(), "", "", *verdict)
	if wrote, err := r.Applier.Status(ctx, stage, old); err != nil {
		return false, err
	} else if wrote {
		r.eventTurned(stage, old.Status.Conditions)
	}
	return true, nil
}

// inputsLeft are all inputs of a stage that is being deleted. Its consumers are listed when its status is lost.
func inputsLeft(nats *jetstream.Client, stage *v1alpha1.Stage, have *corev1.ConfigMap, owner jetstream.Owner) ([]v1alpha1.ConsumerStatus, error) {
	inputs := knownInputs(stage, have)
	if len(stage.Status.Consumers) > 0 {
		return inputs, nil
	}
	streams, err := nats.StreamsOf(owner)
	if err != nil {
		return nil, err
	}
	for _, stream := range streams {
		names, err := nats.ConsumersOf(stream.Config.Name, owner)
		if err != nil {
			return nil, err
		}
		for _, entry := range inputsOfDurables(stream.Config.Name, names) {
			if !named(inputs, entry) {
				inputs = append(inputs, entry)
			}
		}
	}
	return inputs, nil
}

// revisionOf is the revision of the workers of a stage that is being deleted; nil when it is not known, or edited.
func (r *Reconciler) revisionOf(ctx context.Context, stage *v1alpha1.Stage) (*corev1.ConfigMap, error) {
	name := stage.Status.Revision
	if name == "" {
		var deployment appsv1.Deployment
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(stage), &deployment); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		if name = configName(&deployment); name == "" {
			return nil, nil
		}
	}
	var have corev1.ConfigMap
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: name}, &have); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !isIntact(stage.Name, &have) {
		return nil, nil
	}
	return &have, nil
}

// drains says whether workers are there to process what is left, and whether it would be lost if they did
// not: with the stage, or with the streams of a pipeline that is deleted with them.
func (r *Reconciler) drains(ctx context.Context, stage *v1alpha1.Stage) (graph.Stages, bool, error) {
	if leaves(stage) {
		return graph.Stages{}, false, nil
	}
	pipeline, err := graph.PipelineOf(ctx, r.Client, stage)
	if err != nil || pipeline == nil || pipeline.Spec.Suspend || graph.Spec(stage, pipeline).Suspend {
		return graph.Stages{}, false, err
	}
	if !pipeline.DeletionTimestamp.IsZero() && pipeline.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
		return graph.Stages{}, false, nil
	}
	var deployment appsv1.Deployment
	err = r.Client.Get(ctx, client.ObjectKeyFromObject(stage), &deployment)
	if err != nil || !deployment.DeletionTimestamp.IsZero() || !metav1.IsControlledBy(&deployment, stage) || specReplicas(&deployment) == 0 {
		return graph.Stages{}, false, client.IgnoreNotFound(err)
	}
	stages, err := graph.List(ctx, r.Client, stage.Namespace, stage.Spec.PipelineRef.Name)
	return stages, true, err
}

// boundary says up to when what is stored for a stage that is being deleted has to be processed: all of it
// (zero) when some stage that it reads is gone, since then nothing more comes; else what was stored before
// the deletion. upstream is a stage that it reads and that is still being deleted.
func boundary(stage *v1alpha1.Stage, stages graph.Stages) (before time.Time, upstream string) {
	before = stage.DeletionTimestamp.Time
	live := map[string]bool{"ingress": true}
	for _, other := range slices.Concat(stages.Children, stages.Attached) {
		live[graph.Name(&other)] = true
		if !other.DeletionTimestamp.IsZero() && reads(stage, graph.Name(&other)) {
			upstream = graph.Name(&other)
		}
	}
	for _, from := range stage.Spec.From {
		if !live[producer(from)] {
			before = time.Time{}
		}
	}
	return before, upstream
}

// reads says whether a stage reads a port of another.
func reads(stage *v1alpha1.Stage, name string) bool {
	return graph.Name(stage) != name && slices.ContainsFunc(stage.Spec.From, func(from string) bool { return producer(from) == name })
}

// producer is the stage of a port: that of enrich/dead-letter is enrich.
func producer(port string) string {
	name, _, _ := strings.Cut(port, "/")
	return name
}
