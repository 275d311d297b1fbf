package stage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// The actions of Events: what the operator was doing.
const (
	actionConsumer = "ReconcileConsumer"
	actionWorkers  = "ReconcileWorkers"
)

// eventOutcome tells of what a pass did.
func (r *Reconciler) eventOutcome(s *v1alpha1.Stage, in decide.Desired, done outcome) {
	created := append(r.eventConsumers(s, done.changed), done.objects[apply.Created]...)
	if len(created) > 0 {
		r.Normal(s, v1alpha1.ReasonCreated, lifecycle.ActionStatus, "created "+strings.Join(created, ", "))
	}
	r.eventBacklog(s, in.Consumers, done.backlogs)
	r.eventConsumersDropped(s, done.dropped)
	if done.scaled != nil {
		r.eventScaled(s, *done.scaled)
	}
	if updated := done.objects[apply.Updated]; len(updated) > 0 {
		r.Normal(s, v1alpha1.ReasonUpdated, actionWorkers, "updated "+strings.Join(updated, ", "))
	}
}

// eventConsumers tells of the lanes to which the same was done in one Event. It returns those that are new: the caller tells of all that
// is new together.
func (r *Reconciler) eventConsumers(s *v1alpha1.Stage, changes []jetstream.ConsumerChange) (created []string) {
	known := map[decide.Durable]bool{}
	for _, c := range s.Status.Consumers {
		for _, name := range intake.Durables(c) {
			known[decide.Durable{Stream: c.Stream, Name: name}] = true
		}
	}
	type change struct {
		stream, fields string
		action         jetstream.Action
		known          bool
	}
	names, order := map[change][]string{}, []change{}
	for _, c := range changes {
		d := change{c.Stream, c.Fields.String(), c.Action, known[decide.Durable{Stream: c.Stream, Name: c.Name}]}
		if names[d] == nil {
			order = append(order, d)
		}
		names[d] = append(names[d], c.Name)
	}
	for _, d := range order {
		what := list(names[d]) + " of stream " + d.stream
		switch {
		case d.action == jetstream.ActionCreate && d.known:
			r.Warn(s, v1alpha1.ReasonRepaired, actionConsumer, fmt.Sprintf(
				"made again what was gone, consumer %s: it starts at %s", what, firstEvent(s)))
		case d.action == jetstream.ActionCreate:
			created = append(created, "consumer "+what)
		case s.Status.ObservedGeneration == s.Generation && d.known:
			r.Warn(s, v1alpha1.ReasonRepaired, actionConsumer, fmt.Sprintf("repaired consumer %s (%s)", what, d.fields))
		default:
			r.Normal(s, v1alpha1.ReasonUpdated, actionConsumer, fmt.Sprintf("updated consumer %s (%s)", what, d.fields))
		}
	}
	return created
}

// eventBacklog says, before a worker does so, what new consumers will read of what was stored before: one Event for
// each stream.
func (r *Reconciler) eventBacklog(s *v1alpha1.Stage, consumers []decide.Consumer, backlogs map[string]jetstream.Lag) {
	sums := map[string]jetstream.Lag{}
	for _, c := range consumers {
		if b, ok := backlogs[key(c.Stream, c.Name)]; ok {
			sum := sums[c.Stream]
			sums[c.Stream] = jetstream.Lag{Events: sum.Events + b.Events, Oldest: intake.Older(sum.Oldest, b.Oldest)}
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(sums)) {
		r.Normal(s, v1alpha1.ReasonReadsFromStart, actionConsumer, fmt.Sprintf(
			"the stage begins at %s of stream %s: it will read about %d events, stored since %s",
			oldestEvent(s), stream, sums[stream].Events, sums[stream].Oldest.UTC().Format(time.RFC3339)))
	}
}

// firstEvent is where the consumers of a stage begin.
func firstEvent(s *v1alpha1.Stage) string {
	if t := s.Spec.StartTime; t != nil {
		return "the first event stored from " + t.UTC().Format(time.RFC3339) + " on"
	}
	return "the first stored event"
}

// oldestEvent is firstEvent, for what was stored before the consumers were made.
func oldestEvent(s *v1alpha1.Stage) string {
	if s.Spec.StartTime != nil {
		return firstEvent(s)
	}
	return "the oldest stored event"
}

// list names a few things, or the first and the last of many.
func list(names []string) string {
	if n := len(names); n > 3 {
		return fmt.Sprintf("%s to %s (%d)", names[0], names[n-1], n)
	}
	return strings.Join(names, ", ")
}

func (r *Reconciler) eventConsumersDropped(s *v1alpha1.Stage, dropped map[string][]string) {
	for _, stream := range slices.Sorted(maps.Keys(dropped)) {
		r.Normal(s, v1alpha1.ReasonDeleted, actionConsumer, fmt.Sprintf(
			"deleted consumer %s: the stage does not read stream %s with it any more", list(dropped[stream]), stream))
	}
}

func (r *Reconciler) eventScaled(s *v1alpha1.Stage, scaled autoscale.Scaled) {
	r.Normal(s, v1alpha1.ReasonScaled, actionWorkers, fmt.Sprintf("scaled from %d to %d workers: %s", scaled.From, scaled.To, scaled.Reason))
}

// What a deletion took away or left may be more than an Event holds, and the object is gone then: the log has all of it.

func (r *Reconciler) eventConsumersDeleted(ctx context.Context, s *v1alpha1.Stage, deleted []string) {
	if len(deleted) > 0 {
		log.FromContext(ctx).Info("deleted consumers", "consumers", deleted)
		r.Normal(s, v1alpha1.ReasonDeleted, lifecycle.ActionCleanup, "deleted consumers "+strings.Join(deleted, "; "))
	}
}

func (r *Reconciler) eventLeftBehind(ctx context.Context, s *v1alpha1.Stage, cause error) {
	names := make([]string, len(s.Status.Consumers))
	for i, c := range s.Status.Consumers {
		names[i] = list(intake.Durables(c)) + " of stream " + c.Stream
	}
	log.FromContext(ctx).Info("left consumers behind", "consumers", names, "cause", cause.Error())
	r.Warn(s, v1alpha1.ReasonRetained, lifecycle.ActionCleanup, fmt.Sprintf(
		"gave up after %s without success: consumers were left behind (%s); delete them with NATS tools: %v", r.CleanupTimeout, strings.Join(names, ", "), cause))
}

func (r *Reconciler) eventUnprocessed(ctx context.Context, s *v1alpha1.Stage, what string) {
	log.FromContext(ctx).Info("gave up the drain", "left", what)
	r.Warn(s, v1alpha1.ReasonEventsLeft, lifecycle.ActionCleanup, what)
}

// eventUnknown: what is left could not be asked for any more.
func (r *Reconciler) eventUnknown(ctx context.Context, s *v1alpha1.Stage, cause error) {
	last := "how many events are left is not known"
	if c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionInputsDrained); c != nil {
		last = "when it was asked last, " + c.Message
	} else if s.Status.Lag != nil {
		last = fmt.Sprintf("when it was asked last, about %d events were left", *s.Status.Lag)
	}
	log.FromContext(ctx).Info("gave up the drain", "left", last, "cause", cause.Error())
	r.Warn(s, v1alpha1.ReasonEventsLeft, lifecycle.ActionCleanup, fmt.Sprintf(
		"gave up, since NATS could not be asked for %s (%v); %s", r.CleanupTimeout, cause, last))
}
