package lifecycle

import (
	"cmp"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/status"
)

// The actions of Events that both kinds have: what the operator was doing.
const (
	ActionStatus  = "Reconcile"
	ActionCleanup = "Cleanup"
)

// Normal records an Event about work as usual.
func (c *Controller) Normal(object client.Object, reason, action, note string) {
	c.Recorder.Eventf(object, nil, corev1.EventTypeNormal, reason, action, "%s", status.Note(note))
}

// Warn records an Event that somebody should look at.
func (c *Controller) Warn(object client.Object, reason, action, note string) {
	c.Recorder.Eventf(object, nil, corev1.EventTypeWarning, reason, action, "%s", status.Note(note))
}

func (c *Controller) eventRetriesCleanup(object client.Object, what string, cause error) {
	c.Warn(object, cmp.Or(access.Reason(cause), v1alpha1.ReasonNATSUnreachable), ActionCleanup, fmt.Sprintf(
		"cannot delete the %s yet, trying again until that has failed for %s: %v", what, c.CleanupTimeout, cause))
}

// PatchStatus patches the status of an object that was changed since before was copied from it, once and only when it was, and
// records an Event for each condition that turned.
func (c *Controller) PatchStatus(ctx context.Context, object, before client.Object) error {
	wrote, err := c.Applier.Status(ctx, object, before)
	if wrote {
		c.EventTurned(object, before)
	}
	return err
}

// PatchSharedStatus is PatchStatus for an object whose status both controllers write. The error is a conflict of the API server's
// when somebody wrote the object since it was read.
func (c *Controller) PatchSharedStatus(ctx context.Context, object, before client.Object) error {
	wrote, err := c.Applier.SharedStatus(ctx, object, before)
	if wrote {
		c.EventTurned(object, before)
	}
	return err
}

// EventTurned records an Event for each condition that is another than before.
func (c *Controller) EventTurned(object, before client.Object) {
	for _, turned := range status.Turned(*status.ConditionsOf(before), *status.ConditionsOf(object)) {
		record := c.Normal
		if status.Worrying(turned) {
			record = c.Warn
		}
		record(object, turned.Reason, ActionStatus, turned.Type+": "+turned.Message)
	}
}

// NATSFailed is the verdict on an error of NATS; reason is that of one which is about a single stream or consumer.
func NATSFailed(condition, reason string, err error) status.Verdict {
	return status.False(condition, cmp.Or(access.Reason(err), reason), err.Error())
}

// KubernetesFailed is the verdict on an error of the API server; reason is that of one which may pass by itself.
func KubernetesFailed(condition, reason string, err error) status.Verdict {
	if failure.Refused(err) {
		return status.Stalled(condition, v1alpha1.ReasonObjectRefused, err.Error())
	}
	return status.False(condition, reason, err.Error())
}
