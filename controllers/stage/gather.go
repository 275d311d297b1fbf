package stage

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/revision"
)

// snapshot is all that a reconcile reads.
type snapshot struct {
	stage *v1alpha1.Stage
	// history are the revisions of the stage; unreadable says why they are not known.
	history    revision.History
	unreadable error
	// newest is the revision that the stage is to run; nil while the Pipeline controller has written none, or somebody deleted the one
	// that the stage ran: an earlier one is not what it is to run.
	newest *revision.Revision
	// unpaired are revisions, by name, whose workers would have a Secret that is not for their server.
	unpaired map[string]bool

	deployment *appsv1.Deployment
	// taken says whose the Deployment of the stage's name is, when it is not the stage's; empty when it is, or there is none.
	taken      string
	configMaps []corev1.ConfigMap

	// scaling is what there is of the scaling of the stage.
	scaling *autoscale.Observed

	// nats is nil when natsErr says why.
	nats    *jetstream.Client
	natsErr error
	// intake is what exists of the inputs; empty while NATS cannot be asked.
	intake intake.Intake
	// duplicates that the workers have dropped; nil when the stage does not look for any, or its workers do not count.
	duplicates *v1alpha1.DuplicatesStatus
	// leaving: another stage of the pipeline is being deleted.
	leaving bool
}

// durable names a consumer.
type durable struct{ stream, name string }

// gather reads everything. Only errors of the API server end a reconcile: it takes no status either. Those of NATS
// become part of the snapshot.
func (r *Reconciler) gather(ctx context.Context, stage *v1alpha1.Stage) (*snapshot, error) {
	s := &snapshot{stage: stage}
	if err := r.gatherObjects(ctx, s); err != nil {
		return nil, err
	}
	if s.newest == nil {
		return s, nil
	}
	s.nats, s.natsErr = r.Access.ForStage(ctx, stage.Namespace, s.newest.NATS, s.newest.Workers.NATSSecretName)
	if s.natsErr != nil {
		if access.Reason(s.natsErr) != "" {
			return s, nil
		}
		return nil, s.natsErr
	}
	if s.natsErr = r.gatherIntake(ctx, s); s.natsErr == nil {
		s.natsErr = gatherDuplicates(ctx, s)
	}
	return s, r.gatherUnpaired(ctx, s)
}

// gatherUnpaired asks of the earlier revisions what the newest has passed: workers may have to be of one of them.
func (r *Reconciler) gatherUnpaired(ctx context.Context, s *snapshot) error {
	for _, old := range s.history {
		if old == s.newest || old.Workers.NATSSecretName == s.newest.Workers.NATSSecretName && equality.Semantic.DeepEqual(old.NATS, s.newest.NATS) {
			continue
		}
		err := r.Access.Check(ctx, s.stage.Namespace, old.NATS, old.Workers.NATSSecretName)
		if err != nil && !access.IsCredentials(err) {
			return err
		}
		if err != nil {
			if s.unpaired == nil {
				s.unpaired = map[string]bool{}
			}
			s.unpaired[old.Name] = true
		}
	}
	return nil
}

// gatherIntake reads the consumers; the error is one of NATS.
func (r *Reconciler) gatherIntake(ctx context.Context, s *snapshot) error {
	in, err := intake.Read(ctx, intake.Query{NATS: s.nats, Owner: access.StageOwner(s.stage, r.Cluster), Stage: s.stage, History: s.history})
	if err == nil {
		s.intake = *in
	}
	return err
}

// gatherObjects reads what Kubernetes has.
func (r *Reconciler) gatherObjects(ctx context.Context, s *snapshot) error {
	if s.history, s.unreadable = revision.List(ctx, r.Client, s.stage); revision.IsAPIError(s.unreadable) {
		return s.unreadable
	}
	s.newest = newestOf(s.stage, s.history)
	stages, err := graph.List(ctx, r.Client, s.stage.Namespace, s.stage.Spec.PipelineRef.Name)
	if err != nil {
		return err
	}
	s.leaving = isLeaving(stages, s.stage)
	if err := r.gatherDeployment(ctx, s); err != nil {
		return err
	}
	if s.scaling, err = r.Autoscaler.Observe(ctx, s.stage); err != nil {
		return err
	}
	var list corev1.ConfigMapList
	err = r.Client.List(ctx, &list, client.InNamespace(s.stage.Namespace), client.MatchingFields{revision.IndexOwner: string(s.stage.UID)})
	s.configMaps = list.Items
	return err
}

// newestOf is the revision that a stage is to run; nil when there is none, or when it has run a newer one, which somebody deleted.
func newestOf(stage *v1alpha1.Stage, h revision.History) *revision.Revision {
	newest := h.Newest()
	if newest != nil && newest.Number < revision.NumberOf(stage, stage.Status.ObservedRevision) {
		return nil
	}
	return newest
}

// gatherDeployment reads the Deployment of the workers. The cache has the operator's own objects alone, so that where it has
// none the API server is asked whether somebody else has the name.
func (r *Reconciler) gatherDeployment(ctx context.Context, s *snapshot) error {
	var d appsv1.Deployment
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.stage), &d)
	if apierrors.IsNotFound(err) && s.newest != nil && s.newest.Head == "" {
		err = r.Reader.Get(ctx, client.ObjectKeyFromObject(s.stage), &d)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case isOurs(&d, s.stage):
		s.deployment = &d
	default:
		s.taken = ownerOf(&d)
	}
	return nil
}

// isOurs says whether a Deployment is a Stage's: also one that nobody owns any more, because somebody took the owner away.
func isOurs(d *appsv1.Deployment, stage *v1alpha1.Stage) bool {
	if metav1.GetControllerOf(d) != nil {
		return metav1.IsControlledBy(d, stage)
	}
	selector := labels.Selector(stage.Spec.PipelineRef.Name, graph.Name(stage))
	return d.Labels[labels.ManagedBy] == labels.Operator && k8slabels.SelectorFromSet(selector).Matches(k8slabels.Set(d.Labels))
}

// ownerOf says whose an object is.
func ownerOf(o client.Object) string {
	if owner := metav1.GetControllerOf(o); owner != nil {
		return owner.Kind + " " + owner.Name
	}
	return "nobody that it names"
}

// workload is what the autoscaler scales.
func (s *snapshot) workload() autoscale.Workload {
	return autoscale.Workload{Stage: s.stage, Revision: s.newest, Deployment: s.deployment}
}
