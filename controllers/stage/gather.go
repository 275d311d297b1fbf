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
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/intake"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/stage/internal/decide"
)

// snapshot is all that a reconcile reads, and the connection to go on by.
type snapshot struct {
	*decide.Observed
	// nats is nil when NATSErr says why.
	nats *jetstream.Client
}

// gather reads everything. Only errors of the API server end a reconcile: it takes no status either. Those of NATS
// become part of the snapshot.
func (r *Reconciler) gather(ctx context.Context, stage *v1alpha1.Stage) (*snapshot, error) {
	s := &snapshot{Observed: &decide.Observed{Stage: stage}}
	if err := r.gatherObjects(ctx, s); err != nil {
		return nil, err
	}
	if s.Newest == nil {
		return s, nil
	}
	s.nats, s.NATSErr = r.Access.ForStage(ctx, stage.Namespace, mounts(stage, s.Newest))
	if s.NATSErr != nil {
		if access.Reason(s.NATSErr) != "" {
			return s, nil
		}
		return nil, s.NATSErr
	}
	if s.NATSErr = r.gatherIntake(ctx, s); s.NATSErr == nil {
		s.NATSErr = gatherDuplicates(ctx, s)
	}
	if s.NATSErr == nil {
		s.NATSErr = gatherBreakers(ctx, s)
	}
	return s, r.gatherUnpaired(ctx, s)
}

// gatherUnpaired asks of the earlier revisions what the newest has passed: workers may have to be of one of them.
func (r *Reconciler) gatherUnpaired(ctx context.Context, s *snapshot) error {
	for _, old := range s.History {
		if old == s.Newest || equality.Semantic.DeepEqual(mounts(s.Stage, old), mounts(s.Stage, s.Newest)) {
			continue
		}
		err := r.Access.Check(ctx, s.Stage.Namespace, mounts(s.Stage, old))
		if err != nil && !access.IsCredentials(err) {
			return err
		}
		if err != nil {
			if s.Unpaired == nil {
				s.Unpaired = map[string]bool{}
			}
			s.Unpaired[old.Name] = true
		}
	}
	return nil
}

// mounts are what the workers of a revision have mounted.
func mounts(stage *v1alpha1.Stage, r *revision.Revision) access.Mounts {
	return access.Mounts{NATS: r.NATS, UserSecret: r.Workers.NATSSecretName, Secrets: r.Secrets, Pipeline: stage.Spec.PipelineRef.Name}
}

// gatherIntake reads the consumers; the error is one of NATS.
func (r *Reconciler) gatherIntake(ctx context.Context, s *snapshot) error {
	in, err := intake.Read(ctx, intake.Query{NATS: s.nats, Owner: access.StageOwner(s.Stage, r.Cluster), Stage: s.Stage, History: s.History})
	if err == nil {
		s.Intake = *in
	}
	return err
}

// gatherObjects reads what Kubernetes has.
func (r *Reconciler) gatherObjects(ctx context.Context, s *snapshot) error {
	if s.History, s.Unreadable = revision.List(ctx, r.Client, s.Stage); revision.IsAPIError(s.Unreadable) {
		return s.Unreadable
	}
	s.Newest = decide.Newest(s.Stage, s.History)
	stages, err := graph.List(ctx, r.Client, s.Stage.Namespace, s.Stage.Spec.PipelineRef.Name)
	if err != nil {
		return err
	}
	s.Leaving = decide.OthersLeave(stages, s.Stage)
	if err := r.gatherDeployment(ctx, s); err != nil {
		return err
	}
	if s.Scaling, err = r.Autoscaler.Observe(ctx, s.Stage); err != nil {
		return err
	}
	var list corev1.ConfigMapList
	err = r.Client.List(ctx, &list, client.InNamespace(s.Stage.Namespace), client.MatchingFields{revision.IndexOwner: string(s.Stage.UID)})
	s.ConfigMaps = list.Items
	return err
}

// gatherDeployment reads the Deployment of the workers. The cache has the operator's own objects alone, so that where it has
// none the API server is asked whether somebody else has the name.
func (r *Reconciler) gatherDeployment(ctx context.Context, s *snapshot) error {
	var d appsv1.Deployment
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.Stage), &d)
	if apierrors.IsNotFound(err) && s.Newest != nil && s.Newest.Head == "" {
		err = r.Reader.Get(ctx, client.ObjectKeyFromObject(s.Stage), &d)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case isOurs(&d, s.Stage):
		s.Deployment = &d
	default:
		s.Taken = ownerOf(&d)
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
