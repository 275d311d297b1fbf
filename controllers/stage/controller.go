package stage

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/status"
)

// +kubebuilder:rbac:groups=millrace.dev,resources=stages,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=millrace.dev,resources=stages/status,verbs=patch
// +kubebuilder:rbac:groups=millrace.dev,resources=stages/finalizers,verbs=update
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes consumers and workers of Stages.
type Reconciler struct {
	Client   client.Client
	Applier  *apply.Applier
	Access   *access.Access
	Planner  *graph.Planner
	Recorder events.EventRecorder
	// Now is the clock.
	Now func() time.Time
	// Settings are the operator's choices for all workers.
	Settings Settings
	// Resync is how often consumers are checked and status is refreshed.
	Resync time.Duration
	// CleanupTimeout bounds how long a deletion waits for NATS.
	CleanupTimeout time.Duration
	// Concurrency is the number of Stages reconciled at the same time.
	Concurrency int
}

// Settings are the operator's choices for all workers.
type Settings struct {
	// Image of the workers of stages that name none.
	Image string
	// ServiceAccount of the workers that read the cluster and name none.
	ServiceAccount string
	// Cluster is recorded on consumers; it tells operators apart that share a NATS account.
	Cluster string
	// Tracing of the workers.
	Tracing Tracing
}

// SetupWithManager registers the controller. graph.Index must have run.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("stage").
		For(&v1alpha1.Stage{}, specChanged()).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.ConfigMap{}).
		Watches(&v1alpha1.Pipeline{}, handler.EnqueueRequestsFromMapFunc(r.stagesOf), pipelineChanged()).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).
		Complete(r)
}

// Reconcile brings one Stage towards the plan of its pipeline.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var stage v1alpha1.Stage
	if err := r.Client.Get(ctx, request.NamespacedName, &stage); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !stage.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &stage)
	}
	// Adding the finalizer does not change the generation: this pass goes on.
	if err := r.addFinalizer(ctx, &stage); err != nil {
		return reconcile.Result{}, err
	}
	seen, err := r.gather(ctx, &stage)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent, err := decide(seen, r.Settings)
	if err != nil {
		return reconcile.Result{}, reconcile.TerminalError(err)
	}
	done := r.apply(ctx, seen, intent)
	if err := r.writeStatus(ctx, &stage, report{seen: seen, intent: intent, done: done}); err != nil {
		return reconcile.Result{}, err
	}
	return r.next(&stage, done), done.kubernetes
}

func (r *Reconciler) addFinalizer(ctx context.Context, stage *v1alpha1.Stage) error {
	before := stage.DeepCopy()
	if !controllerutil.AddFinalizer(stage, v1alpha1.Finalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, stage, patch); err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	return nil
}

// writeStatus patches the status once, and only when it changed.
func (r *Reconciler) writeStatus(ctx context.Context, stage *v1alpha1.Stage, rep report) error {
	before := stage.DeepCopy()
	setStatus(&stage.Status, rep, r.Now())
	if equality.Semantic.DeepEqual(before.Status, stage.Status) {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, stage, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch status: %w", client.IgnoreNotFound(err))
	}
	r.eventTurned(stage, before.Status.Conditions)
	return nil
}

// next says when to look again: at once for what was just made, soon and ever less often
// while NATS is away or a stream is missing, else at the resync interval.
func (r *Reconciler) next(stage *v1alpha1.Stage, done outcome) reconcile.Result {
	const soon = time.Second
	switch {
	case done.created:
		return reconcile.Result{RequeueAfter: soon}
	case done.waiting():
		wait := status.Backoff(stage.Status.Conditions, v1alpha1.ConditionConsumersReady, soon, r.Now())
		return reconcile.Result{RequeueAfter: wait}
	default:
		return reconcile.Result{RequeueAfter: spread(r.Resync, stage.UID)}
	}
}

// spread lengthens an interval by up to a fifth, by a share of its own for each object, so
// that objects made together do not stay in step.
func spread(interval time.Duration, uid types.UID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return interval + interval/5*time.Duration(h.Sum32()%1000)/1000
}
