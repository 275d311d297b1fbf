package pipeline

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/status"
)

// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines/status,verbs=patch
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines/finalizers,verbs=update
// +kubebuilder:rbac:groups=millrace.dev,resources=stages,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes streams and child Stages of Pipelines.
type Reconciler struct {
	Client   client.Client
	Applier  *apply.Applier
	Access   *access.Access
	Planner  *graph.Planner
	Recorder events.EventRecorder
	// Durability knows whether the operator's NATS server syncs every message.
	Durability *durability.Checker
	// Now is the clock.
	Now func() time.Time
	// Cluster is recorded on streams; it tells operators apart that share a NATS account.
	Cluster string
	// Resync is how often streams are checked and status is refreshed.
	Resync time.Duration
	// CleanupTimeout bounds how long a deletion waits for NATS.
	CleanupTimeout time.Duration
	// Concurrency is the number of Pipelines reconciled at the same time.
	Concurrency int
}

// SetupWithManager registers the controller. graph.Index must have run.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("pipeline").
		For(&v1alpha1.Pipeline{}, specChanged()).
		Watches(&v1alpha1.Stage{}, handler.EnqueueRequestsFromMapFunc(pipelineOf), stageChanged()).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).
		Complete(r)
}

// Reconcile brings one Pipeline towards its spec.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var pipeline v1alpha1.Pipeline
	if err := r.Client.Get(ctx, request.NamespacedName, &pipeline); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !pipeline.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &pipeline)
	}
	// Adding the finalizer does not change the generation: this pass goes on.
	if err := r.addFinalizer(ctx, &pipeline); err != nil {
		return reconcile.Result{}, err
	}
	seen, err := r.gather(ctx, &pipeline)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent := decide(seen, r.Cluster)
	done := r.apply(ctx, seen, intent)
	rep := report{seen: seen, intent: intent, done: done, powerSafe: r.powerSafe(ctx, &pipeline)}
	if err := r.writeStatus(ctx, &pipeline, rep); err != nil {
		return reconcile.Result{}, err
	}
	return r.next(&pipeline, done), done.kubernetes
}

func (r *Reconciler) addFinalizer(ctx context.Context, pipeline *v1alpha1.Pipeline) error {
	before := pipeline.DeepCopy()
	if !controllerutil.AddFinalizer(pipeline, v1alpha1.Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, pipeline, patch); err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	return nil
}

// writeStatus patches the status once, and only when it changed.
func (r *Reconciler) writeStatus(ctx context.Context, pipeline *v1alpha1.Pipeline, rep report) error {
	before := pipeline.DeepCopy()
	setStatus(&pipeline.Status, rep, r.Now())
	if equality.Semantic.DeepEqual(before.Status, pipeline.Status) {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, pipeline, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch status: %w", client.IgnoreNotFound(err))
	}
	r.eventTurned(pipeline, before.Status.Conditions)
	return nil
}

// shortestRetry is the first wait while NATS is away.
const shortestRetry = 5 * time.Second

// next says when to look again: soon and ever less often while NATS is away, else at the
// resync interval.
func (r *Reconciler) next(pipeline *v1alpha1.Pipeline, done outcome) reconcile.Result {
	if done.waiting() {
		return reconcile.Result{RequeueAfter: status.Backoff(pipeline.Status.Conditions, v1alpha1.ConditionStreamsReady, shortestRetry, r.Now())}
	}
	return reconcile.Result{RequeueAfter: spread(r.Resync, pipeline.UID)}
}

// spread lengthens an interval by up to a fifth, by a share of its own for each object, so
// that objects made together do not stay in step.
func spread(interval time.Duration, uid types.UID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return interval + interval/5*time.Duration(h.Sum32()%1000)/1000
}

// ownerOf is what marks the streams of a pipeline.
func ownerOf(pipeline *v1alpha1.Pipeline, cluster string) jetstream.Owner {
	return jetstream.Owner{
		UID: string(pipeline.UID), Pipeline: pipeline.Namespace + "/" + pipeline.Name, Cluster: cluster,
	}
}
