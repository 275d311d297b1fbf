package decide

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/workers/config"
)

// Observed is all that a reconcile reads.
type Observed struct {
	Stage *v1alpha1.Stage
	// History are the revisions of the stage; Unreadable says why they are not known.
	History    revision.History
	Unreadable error
	// Newest is the revision that the stage is to run; nil while the Pipeline controller has written none, or somebody deleted the one
	// that the stage ran: an earlier one is not what it is to run.
	Newest *revision.Revision
	// Unpaired are revisions, by name, whose workers would have a Secret that is not for their server, or not for their Pipeline.
	Unpaired map[string]bool

	Deployment *appsv1.Deployment
	// Taken says whose the Deployment of the stage's name is, when it is not the stage's; empty when it is, or there is none.
	Taken      string
	ConfigMaps []corev1.ConfigMap

	// Scaling is what there is of the scaling of the stage.
	Scaling *autoscale.Observed

	// NATSErr says why NATS cannot be asked; nil when it can.
	NATSErr error
	// Intake is what exists of the inputs; empty while NATS cannot be asked.
	Intake intake.Intake
	// Duplicates that the workers have dropped; nil when the stage does not look for any, or its workers do not count.
	Duplicates *v1alpha1.DuplicatesStatus
	// Breakers are those of the workers, of a stage that has any.
	Breakers config.Breakers
	// Leaving: another stage of the pipeline is being deleted.
	Leaving bool
}

// Durable names a consumer.
type Durable struct{ Stream, Name string }

// Newest is the revision that a stage is to run; nil when there is none, or when it has run a newer one, which somebody deleted.
func Newest(stage *v1alpha1.Stage, h revision.History) *revision.Revision {
	newest := h.Newest()
	if newest != nil && newest.Number < revision.NumberOf(stage, stage.Status.ObservedRevision) {
		return nil
	}
	return newest
}

// Workload is what the autoscaler scales.
func (s *Observed) Workload() autoscale.Workload {
	return autoscale.Workload{Stage: s.Stage, Revision: s.Newest, Deployment: s.Deployment}
}
