package stage

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/status"
)

// The actions of Events: what the operator was doing.
const (
	actionConsumer = "ReconcileConsumer"
	actionWorkers  = "ReconcileWorkers"
	actionStatus   = "Reconcile"
	actionCleanup  = "Cleanup"
)

func (r *Reconciler) normal(s *v1alpha1.Stage, reason, action, note string) {
	r.Recorder.Eventf(s, nil, corev1.EventTypeNormal, reason, action, "%s", note)
}

func (r *Reconciler) warn(s *v1alpha1.Stage, reason, action, note string) {
	r.Recorder.Eventf(s, nil, corev1.EventTypeWarning, reason, action, "%s", note)
}

func (r *Reconciler) eventConsumer(s *v1alpha1.Stage, change jetstream.ConsumerChange) {
	known := false
	for _, c := range s.Status.Consumers {
		known = known || (c.Stream == change.Stream && c.Name == change.Name)
	}
	name := change.Name + " of stream " + change.Stream
	switch {
	case change.Action == jetstream.ActionCreate && known:
		r.warn(s, v1alpha1.ReasonRepaired, actionConsumer, fmt.Sprintf(
			"consumer %s was gone and was made again: it starts at the first stored event", name))
	case change.Action == jetstream.ActionCreate:
		r.normal(s, v1alpha1.ReasonCreated, actionConsumer, "created consumer "+name)
	case s.Status.ObservedGeneration == s.Generation && known:
		r.warn(s, v1alpha1.ReasonRepaired, actionConsumer, fmt.Sprintf("repaired consumer %s (%s)", name, change.Fields))
	default:
		r.normal(s, v1alpha1.ReasonUpdated, actionConsumer, fmt.Sprintf("updated consumer %s (%s)", name, change.Fields))
	}
}

func (r *Reconciler) eventConsumerDropped(s *v1alpha1.Stage, stream, name string) {
	r.normal(s, v1alpha1.ReasonDeleted, actionConsumer, fmt.Sprintf("deleted consumer %s: the stage does not read stream %s any more", name, stream))
}

func (r *Reconciler) eventApplied(s *v1alpha1.Stage, kind, name string, result apply.Outcome) {
	switch result {
	case apply.Created:
		r.normal(s, v1alpha1.ReasonCreated, actionWorkers, fmt.Sprintf("created %s %s", kind, name))
	case apply.Updated:
		r.normal(s, v1alpha1.ReasonUpdated, actionWorkers, fmt.Sprintf("updated %s %s", kind, name))
	case apply.Unchanged:
	}
}

func (r *Reconciler) eventConsumersDeleted(s *v1alpha1.Stage, names []string) {
	if len(names) > 0 {
		r.normal(s, v1alpha1.ReasonDeleted, actionCleanup, "deleted consumers "+strings.Join(names, ", "))
	}
}

func (r *Reconciler) eventWaiting(s *v1alpha1.Stage, cause error) {
	r.warn(s, v1alpha1.ReasonNATSUnreachable, actionCleanup, fmt.Sprintf(
		"cannot delete the consumers, trying again until %s after the deletion: %v", r.CleanupTimeout, cause))
}

func (r *Reconciler) eventLeftBehind(s *v1alpha1.Stage, cause error) {
	names := make([]string, len(s.Status.Consumers))
	for i, c := range s.Status.Consumers {
		names[i] = c.Name + " of stream " + c.Stream
	}
	r.warn(s, v1alpha1.ReasonRetained, actionCleanup, fmt.Sprintf(
		"gave up after %s: consumers were left behind (%s); delete them with NATS tools: %v", r.CleanupTimeout, strings.Join(names, ", "), cause))
}

// eventTurned tells what changed in the conditions.
func (r *Reconciler) eventTurned(s *v1alpha1.Stage, before []metav1.Condition) {
	for _, c := range status.Turned(before, s.Status.Conditions) {
		if c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonProgressing {
			r.warn(s, c.Reason, actionStatus, c.Type+": "+c.Message)
			continue
		}
		r.normal(s, c.Reason, actionStatus, c.Type+": "+c.Message)
	}
}
