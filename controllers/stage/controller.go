package stage

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/cleanup"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/metrics"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/lag"
)

// Deployments and autoscalers are read one by one, past the cache, before the operator makes one: somebody else may have the name. A
// Stage is, when the Pipeline controller wrote its status first.
//
// +kubebuilder:rbac:groups=millrace.dev,resources=stages,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=millrace.dev,resources=stages/status,verbs=patch
// +kubebuilder:rbac:groups=millrace.dev,resources=stages/finalizers,verbs=update
// +kubebuilder:rbac:groups=millrace.dev,resources=pipelines,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=list;watch;delete
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=keda.sh,resources=scaledobjects,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes consumers and workers of Stages.
type Reconciler struct {
	Client   client.Client
	Applier  *apply.Applier
	Access   *access.Access
	Recorder events.EventRecorder
	// Work counts the passes.
	Work *metrics.Work
	// Meter has the newest measurements of stages that scale, and tells Wake of those whose number of
	// workers has to be set.
	Meter *lag.Meter
	Wake  <-chan event.GenericEvent
	// Registration says whose the cluster's external metrics are; only with the backend External.
	Registration *lag.Registration
	// KEDA says whether the cluster has it; nil with another backend.
	KEDA *keda.Presence
	// Reader reads past the cache, which has the operator's own objects alone.
	Reader client.Reader
	// Now is the clock.
	Now func() time.Time
	// Settings are the operator's choices for all workers.
	Settings Settings
	// Watch wakes the controller; what it misses is found at the resync.
	Watch *watch.Watch
	// Resync is how often consumers are checked when nothing wakes the controller.
	Resync time.Duration
	// Fresh is how often the numbers in status are refreshed while they move.
	Fresh time.Duration
	// CleanupTimeout bounds how long a deletion waits for NATS that does not answer.
	CleanupTimeout time.Duration
	// DrainTimeout bounds how long a deletion waits for what the stage has to process; 0 = not at all.
	DrainTimeout time.Duration
	// Concurrency is the number of Stages reconciled at the same time.
	Concurrency int

	// failures of deletions.
	failures cleanup.Failures
	// progress of stages with dedupe.
	progress progress
}

// Settings are the operator's choices for all stages.
type Settings struct {
	// Cluster is recorded on consumers; it tells operators apart that share a NATS account.
	Cluster string
	// Backend is who sets the number of workers of stages that scale.
	Backend scaling.Backend
	// ScaleDownWindow is for how long nobody must have wanted more workers before there are fewer.
	ScaleDownWindow time.Duration
	// ReadingsURL is where KEDA asks for the readings of stages; only with the backend KEDA.
	ReadingsURL string
}

// SetupWithManager registers the controller. graph.Index and revision.Index must have run.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("stage").
		For(&v1alpha1.Stage{}, stageChanged()).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&appsv1.ControllerRevision{}, revised()).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, autoscalerTurned()).
		WatchesRawSource(source.Channel(r.Wake, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.Pipeline{}, handler.EnqueueRequestsFromMapFunc(r.stagesOf), pipelineChanged()).
		Watches(&v1alpha1.Stage{}, handler.EnqueueRequestsFromMapFunc(r.besides), leavingChanged()).
		WatchesRawSource(r.Watch.Source(watch.Stage)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency, RateLimiter: failure.Limiter()}).
		Build(r)
	if err != nil {
		return err
	}
	if r.KEDA == nil {
		return nil
	}
	r.KEDA.OnFound = func(kind client.Object) error {
		owner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.Stage{}, handler.OnlyControllerOwner())
		return c.Watch(source.Kind(r.KEDA.Cache, kind, owner, scaledObjectTurned()))
	}
	// Known before the first reconcile, which would else scale by itself.
	return r.KEDA.Look(ctx)
}

// Reconcile brings one Stage towards its newest revision.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (_ reconcile.Result, err error) {
	var stage v1alpha1.Stage
	if err := r.Client.Get(ctx, request.NamespacedName, &stage); err != nil {
		if apierrors.IsNotFound(err) {
			r.Watch.Forget(watch.Stage, request.NamespacedName)
			r.failures.Forget(request.NamespacedName)
			r.progress.forget(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	defer r.Work.Reconciling("Stage", &stage, &stage.Status.Conditions, &err)()
	if r.Applier.Behind(&stage) {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	if !stage.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, &stage)
	}
	// Adding the finalizer does not change the generation: this pass goes on.
	if err := apply.AddFinalizer(ctx, r.Client, &stage); err != nil {
		return again(err)
	}
	seen, err := r.gather(ctx, &stage)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent := decide(seen, r.Settings)
	done := r.apply(ctx, seen, intent)
	r.follow(seen)
	before := stage.DeepCopy()
	if err := r.writeStatus(ctx, &stage, before, report{seen: seen, intent: intent, done: done}); err != nil {
		return again(err)
	}
	moved := r.progress.moved(request.NamespacedName, seen, r.Now())
	if done.kubernetes != nil && !failure.Refused(done.kubernetes) {
		return again(done.kubernetes)
	}
	return r.next(&stage, before, done, moved), nil
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
	if s.newest == nil {
		return
	}
	interest := watch.Interest{
		Pipeline:   client.ObjectKey{Namespace: s.stage.Namespace, Name: s.stage.Spec.PipelineRef.Name},
		Connection: jetstream.ConnectionOf(s.natsErr),
	}
	if s.nats != nil {
		interest.Connection = s.nats.Connection()
	}
	for _, c := range s.newest.Consumers() {
		if !slices.Contains(interest.Streams, c.Stream) {
			interest.Streams = append(interest.Streams, c.Stream)
		}
		interest.Consumers = append(interest.Consumers, watch.Consumer{Stream: c.Stream, Name: c.Durable})
	}
	r.Watch.Follow(watch.Stage, client.ObjectKeyFromObject(s.stage), interest)
}

// writeStatus patches the status once, and only when it changed. Where the Pipeline controller was first, it is written on top of
// that: what this pass did, such as what a new consumer found, no other pass will find out.
func (r *Reconciler) writeStatus(ctx context.Context, stage, before *v1alpha1.Stage, rep report) error {
	for {
		setStatus(&stage.Status, rep, r.Now())
		wrote, err := r.Applier.SharedStatus(ctx, stage, before)
		if wrote {
			r.eventTurned(stage, before.Status.Conditions)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		var live v1alpha1.Stage
		if gone := r.Reader.Get(ctx, client.ObjectKeyFromObject(stage), &live); gone != nil {
			return client.IgnoreNotFound(gone)
		}
		if live.UID != stage.UID || live.Generation != stage.Generation {
			return err
		}
		live.DeepCopyInto(before)
		live.DeepCopyInto(stage)
	}
}

// next says when to look again if nothing wakes the controller before: at once for what was just
// made, soon and ever less often while NATS is away or a stream is missing, soon while numbers
// move, else at the resync interval.
func (r *Reconciler) next(stage, before *v1alpha1.Stage, done outcome, moved bool) reconcile.Result {
	const soon = time.Second
	interval := r.Resync
	switch {
	case done.created, done.natsErr == nil && draining(stage):
		return reconcile.Result{RequeueAfter: soon}
	case done.kubernetes != nil: // the status says why; somebody may mend it without touching the Stage
		return reconcile.Result{RequeueAfter: status.Backoff(stage.Status.Conditions, v1alpha1.ConditionWorkersAvailable, failure.First, r.Now())}
	case done.waiting():
		wait := status.Backoff(stage.Status.Conditions, v1alpha1.ConditionConsumersReady, soon, r.Now())
		return reconcile.Result{RequeueAfter: wait}
	// Who sets the number of workers, and why it is this one, is not told by NATS.
	// Nor is that something of somebody else's has gone out of the way.
	case moved, moving(before.Status, stage.Status), stage.Status.Autoscaling != nil, !meta.IsStatusConditionTrue(stage.Status.Conditions, v1alpha1.ConditionReady):
		interval = min(r.Fresh, r.Resync)
	}
	return reconcile.Result{RequeueAfter: status.Spread(interval, stage.UID)}
}

// draining reports whether workers are at work on inputs that the stage is not to have any more.
func draining(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonEventsLeft
}

// moving reports whether the numbers of the consumers will be others soon.
func moving(before, after v1alpha1.StageStatus) bool {
	return after.Lag != nil && *after.Lag > 0 || !equality.Semantic.DeepEqual(before.Consumers, after.Consumers) ||
		!equality.Semantic.DeepEqual(before.Duplicates, after.Duplicates)
}
