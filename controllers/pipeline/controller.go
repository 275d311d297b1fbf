package pipeline

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/cleanup"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/metrics"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/internal/watch"
)

// What the operator reads, it lists and watches; it patches objects for their finalizers, and applies what it makes. finalizers/update is for
// owner references that block deletion, where the API server checks that (OwnerReferencesPermissionEnforcement).
//
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines,verbs=list;watch;patch
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines/status,verbs=patch
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines/finalizers,verbs=update
// +kubebuilder:rbac:groups=millrace.dev,resources=stages,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=millrace.dev,resources=stages/status,verbs=patch
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes streams and child Stages of Pipelines.
type Reconciler struct {
	Client   client.Client
	Applier  *apply.Applier
	Access   *access.Access
	Planner  *graph.Planner
	Recorder events.EventRecorder
	// Work counts the passes.
	Work *metrics.Work
	// Durability knows whether the operator's NATS server syncs every message.
	Durability *durability.Checker
	// Now is the clock.
	Now func() time.Time
	// Settings are the operator's choices for all workers.
	Settings revision.Settings
	// Cluster is recorded on streams; it tells operators apart that share a NATS account.
	Cluster string
	// Watch wakes the controller; what it misses is found at the resync.
	Watch *watch.Watch
	// Resync is how often streams are checked when nothing wakes the controller.
	Resync time.Duration
	// Fresh is how often the numbers in status are refreshed while they move.
	Fresh time.Duration
	// CleanupTimeout bounds how long a deletion waits for NATS that does not answer.
	CleanupTimeout time.Duration
	// Concurrency is the number of Pipelines reconciled at the same time.
	Concurrency int

	// told are the Events about dead letters of the last while.
	told limiter
	// failures of deletions.
	failures cleanup.Failures
}

// SetupWithManager registers the controller. graph.Index must have run.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("pipeline").
		For(&v1alpha1.Pipeline{}, specChanged()).
		Watches(&appsv1.ControllerRevision{}, handler.EnqueueRequestsFromMapFunc(labelledPipeline), revised()).
		Watches(&v1alpha1.Stage{}, handler.EnqueueRequestsFromMapFunc(pipelineOf), stageChanged()).
		WatchesRawSource(r.Watch.Source(watch.Pipeline)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency, RateLimiter: failure.Limiter()}).
		Complete(r)
}

// Reconcile brings one Pipeline towards its spec.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (_ reconcile.Result, err error) {
	var pipeline v1alpha1.Pipeline
	if err := r.Client.Get(ctx, request.NamespacedName, &pipeline); err != nil {
		if apierrors.IsNotFound(err) {
			r.Watch.Forget(watch.Pipeline, request.NamespacedName)
			r.failures.Forget(request.NamespacedName)
			behind, err := r.orphans(ctx, request.NamespacedName)
			if behind && err == nil {
				return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
			}
			return again(err)
		}
		return reconcile.Result{}, err
	}
	defer r.Work.Reconciling("Pipeline", &pipeline, &pipeline.Status.Conditions, &err)()
	if r.Applier.Behind(&pipeline) {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	if !pipeline.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &pipeline)
	}
	// Adding the finalizer does not change the generation: this pass goes on.
	if err := apply.AddFinalizer(ctx, r.Client, &pipeline); err != nil {
		return again(err)
	}
	seen, err := r.gather(ctx, &pipeline)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent := decide(seen, r.Cluster, r.Settings)
	done := r.apply(ctx, seen, intent)
	rep := report{seen: seen, intent: intent, done: done, powerSafe: r.powerSafe(ctx, &pipeline)}
	r.eventDeadLettered(&pipeline, seen.deadLetters)
	r.follow(seen)
	before := pipeline.DeepCopy()
	if err := r.writeStatus(ctx, &pipeline, before, rep); err != nil {
		return again(err)
	}
	if done.kubernetes != nil && !failure.Refused(done.kubernetes) {
		return again(done.kubernetes)
	}
	if done.accepted != nil {
		return again(done.accepted)
	}
	if done.behind {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	return r.next(&pipeline, before, rep), nil
}

// again has a pass repeated that wrote to an object which somebody else had written to since it was read: that is no failure.
func again(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	return reconcile.Result{}, err
}

// follow has the controller woken when what this pass looked at changes.
func (r *Reconciler) follow(s *snapshot) {
	if s.resolved.Plan == nil {
		return
	}
	name := client.ObjectKeyFromObject(s.pipeline)
	interest := watch.Interest{Pipeline: name, Connection: jetstream.ConnectionOf(s.natsErr), Streams: streamsOf(s.resolved.Plan)}
	if s.nats != nil {
		interest.Connection = s.nats.Connection()
	}
	r.Watch.Follow(watch.Pipeline, name, interest)
	r.Watch.Pulse(s.pipeline, s.resolved.Plan.Ingress.Name)
}

// writeStatus patches the status once, and only when it changed or lastObserved is old.
func (r *Reconciler) writeStatus(ctx context.Context, pipeline, before *v1alpha1.Pipeline, rep report) error {
	setStatus(&pipeline.Status, rep, r.Now())
	observe(&pipeline.Status, &before.Status, r.Now())
	wrote, err := r.Applier.Status(ctx, pipeline, before)
	if wrote {
		r.eventTurned(pipeline, before.Status.Conditions)
	}
	return err
}

// observedEvery bounds the writes that tell nothing but that an operator is there: at most one for each Pipeline in this
// time. It is shorter than the default resync interval, so that each resync writes one.
const observedEvery = 4 * time.Minute

// observe sets lastObserved in a status that is written anyway, and in one that has not been written for a while.
// Without it a Pipeline would look Ready for ever when no operator runs.
func observe(now, before *v1alpha1.PipelineStatus, at time.Time) {
	last := before.LastObserved
	if last == nil || at.Sub(last.Time) >= observedEvery || !equality.Semantic.DeepEqual(now, before) {
		now.LastObserved = new(metav1.NewTime(at))
	}
}

// shortestRetry is the first wait while NATS is away.
const shortestRetry = 5 * time.Second

// next says when to look again if nothing wakes the controller before: soon and ever less often
// while NATS is away, soon while numbers move or something is in the way that nobody will tell
// of when it has gone, else at the resync interval.
func (r *Reconciler) next(pipeline, before *v1alpha1.Pipeline, rep report) reconcile.Result {
	interval := r.Resync
	switch {
	case rep.done.kubernetes != nil: // the status says why; somebody may mend it without touching the Pipeline
		return reconcile.Result{RequeueAfter: status.Backoff(pipeline.Status.Conditions, v1alpha1.ConditionStagesReady, failure.First, r.Now())}
	case rep.done.waiting():
		return reconcile.Result{RequeueAfter: status.Backoff(pipeline.Status.Conditions, v1alpha1.ConditionStreamsReady, shortestRetry, r.Now())}
	case value(pipeline.Status.Lag) > 0, len(rep.seen.taken) > 0, rep.powerSafe != nil && rep.powerSafe.Status != metav1.ConditionTrue,
		!equality.Semantic.DeepEqual(before.Status.Streams, pipeline.Status.Streams):
		interval = min(r.Fresh, r.Resync)
	case rep.powerSafe != nil:
		interval = min(time.Minute, r.Resync)
	}
	return reconcile.Result{RequeueAfter: status.Spread(interval, pipeline.UID)}
}

// ownerOf is what marks the streams of a pipeline.
func ownerOf(pipeline *v1alpha1.Pipeline, cluster string) jetstream.Owner {
	return jetstream.Owner{
		UID: string(pipeline.UID), Pipeline: pipeline.Namespace + "/" + pipeline.Name, Cluster: cluster,
	}
}
