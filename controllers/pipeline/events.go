package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
)

// The actions of Events: what the operator was doing.
const (
	actionStream = "ReconcileStream"
	actionStage  = "ReconcileStage"
)

// eventOutcome tells of what a pass did.
func (r *Reconciler) eventOutcome(p *v1alpha1.Pipeline, in decide.Desired, done outcome) {
	for _, change := range done.updated {
		r.eventStreamUpdated(p, change)
	}
	r.eventStreamsCreated(p, done.created)
	if done.natsErr == nil { // else status keeps naming them, and the next pass tells
		r.eventRetained(p, in.Retained)
	}
	r.eventStagesApplied(p, done.stages)
	for _, name := range done.pruned {
		r.eventStageDeleted(p, name)
	}
}

// eventStreamsCreated tells of all of them in one Event. A stream that status names was there
// before and has been lost.
func (r *Reconciler) eventStreamsCreated(p *v1alpha1.Pipeline, names []string) {
	var first, again []string
	for _, name := range names {
		if slices.ContainsFunc(p.Status.Streams, func(s v1alpha1.StreamStatus) bool { return s.Name == name }) {
			again = append(again, name)
		} else {
			first = append(first, name)
		}
	}
	if len(first) > 0 {
		r.Normal(p, v1alpha1.ReasonCreated, actionStream, "created streams "+strings.Join(first, ", "))
	}
	if len(again) > 0 {
		r.Warn(p, v1alpha1.ReasonRepaired, actionStream, "made again, without the messages they held, streams "+strings.Join(again, ", "))
	}
}

func (r *Reconciler) eventStreamUpdated(p *v1alpha1.Pipeline, change jetstream.StreamChange) {
	switch {
	case change.Adopted:
		r.Normal(p, v1alpha1.ReasonUpdated, actionStream, fmt.Sprintf("took over retained stream %s (%s)", change.Name, change.Fields))
	case p.Status.ObservedGeneration == p.Generation:
		// The spec has not changed since the last look: somebody else edited the stream.
		r.Warn(p, v1alpha1.ReasonRepaired, actionStream, fmt.Sprintf("repaired stream %s (%s)", change.Name, change.Fields))
	default:
		r.Normal(p, v1alpha1.ReasonUpdated, actionStream, fmt.Sprintf("updated stream %s (%s)", change.Name, change.Fields))
	}
}

// eventStagesApplied tells of all to which the same was done in one Event.
func (r *Reconciler) eventStagesApplied(p *v1alpha1.Pipeline, results map[apply.Outcome][]string) {
	created, updated := results[apply.Created], results[apply.Updated]
	if p.Status.ObservedGeneration == p.Generation { // the spec has not changed since the last look
		if len(created) > 0 {
			r.Warn(p, v1alpha1.ReasonRepaired, actionStage, "made again what was gone, Stages "+strings.Join(created, ", "))
		}
		if len(updated) > 0 {
			r.Warn(p, v1alpha1.ReasonRepaired, actionStage, "repaired what somebody else had changed, Stages "+strings.Join(updated, ", "))
		}
		return
	}
	if len(created) > 0 {
		r.Normal(p, v1alpha1.ReasonCreated, actionStage, "created Stages "+strings.Join(created, ", "))
	}
	if len(updated) > 0 {
		r.Normal(p, v1alpha1.ReasonUpdated, actionStage, "updated Stages "+strings.Join(updated, ", "))
	}
}

func (r *Reconciler) eventStageDeleted(p *v1alpha1.Pipeline, name string) {
	r.Normal(p, v1alpha1.ReasonDeleted, actionStage, fmt.Sprintf("deleted Stage %s: its entry is gone from spec.stages", name))
}

func (r *Reconciler) eventRetained(p *v1alpha1.Pipeline, streams []string) {
	for _, name := range streams {
		r.Normal(p, v1alpha1.ReasonRetained, actionStream, fmt.Sprintf(
			"stream %s is no longer part of the pipeline; it and its messages are kept: delete it with NATS tools when they are not needed", name))
	}
}

// What a deletion took away or left may be more than an Event holds, and the object is gone then: the log has all of it.

func (r *Reconciler) eventStreamsDeleted(ctx context.Context, p *v1alpha1.Pipeline, streams []string) {
	if len(streams) > 0 {
		log.FromContext(ctx).Info("deleted streams", "streams", streams)
		r.Normal(p, v1alpha1.ReasonDeleted, lifecycle.ActionCleanup, "deleted streams "+strings.Join(streams, ", "))
	}
}

func (r *Reconciler) eventStreamsRetained(ctx context.Context, p *v1alpha1.Pipeline) {
	if names := streamNames(p); names != "" {
		log.FromContext(ctx).Info("kept streams", "streams", names)
		r.Normal(p, v1alpha1.ReasonRetained, lifecycle.ActionCleanup, fmt.Sprintf(
			"deletionPolicy is Retain: streams %s are kept; a Pipeline of the same namespace and name takes them over", names))
	}
}

func (r *Reconciler) eventLeftBehind(ctx context.Context, p *v1alpha1.Pipeline, cause error) {
	names := streamNames(p)
	if names == "" {
		names = "of pipeline " + p.Namespace + "/" + p.Name
	}
	log.FromContext(ctx).Info("left streams behind", "streams", names, "cause", cause.Error())
	r.Warn(p, v1alpha1.ReasonRetained, lifecycle.ActionCleanup, fmt.Sprintf(
		"gave up after %s without success: streams %s were left behind; delete them with NATS tools: %v", r.CleanupTimeout, names, cause))
}

// toldEvery is how long an Event about dead letters of one stage and reason holds.
const toldEvery = time.Hour

// eventDeadLettered tells of dead letters, once in a while for each stage and reason.
func (r *Reconciler) eventDeadLettered(p *v1alpha1.Pipeline, letters []jetstream.DeadLetter) {
	for _, l := range letters {
		if !r.told.allow(string(p.UID)+"/"+l.Stage+"/"+l.Reason, r.Now()) {
			continue
		}
		note := fmt.Sprintf("stage %s could not process an event: %s", l.Stage, l.Reason)
		if l.Error != "" {
			note += " (" + l.Error + ")"
		}
		r.Warn(p, v1alpha1.ReasonDeadLettered, actionStream, note+fmt.Sprintf("; it is message %d of the dead letters", l.Sequence))
	}
}

// limiter lets one of a kind through in toldEvery. Its zero value is ready.
type limiter struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (l *limiter) allow(kind string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.last, func(_ string, at time.Time) bool { return now.Sub(at) >= toldEvery })
	if _, ok := l.last[kind]; ok {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[kind] = now
	return true
}

func streamNames(p *v1alpha1.Pipeline) string {
	names := make([]string, len(p.Status.Streams))
	for i, s := range p.Status.Streams {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}
