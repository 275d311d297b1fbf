package stage

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/stage/internal/decide"
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
	lifecycle.Controller
	// Autoscaler has the number of workers follow the lag.
	Autoscaler *autoscale.Autoscaler
	// Reader reads past the cache, which has the operator's own objects alone.
	Reader client.Reader
	// DrainTimeout bounds how long a deletion waits for what the stage has to process; 0 = not at all.
	DrainTimeout time.Duration
	// progress of stages with dedupe.
	progress progress
}

// SetupWithManager registers the controller. graph.Index and revision.Index must have run.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("stage").
		For(&v1alpha1.Stage{}, builder.WithPredicates(stageChanged())).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&appsv1.ControllerRevision{}, builder.WithPredicates(revised())).
		Watches(&v1alpha1.Pipeline{}, handler.EnqueueRequestsFromMapFunc(r.stagesOf), builder.WithPredicates(pipelineChanged())).
		Watches(&v1alpha1.Stage{}, handler.EnqueueRequestsFromMapFunc(r.siblings), builder.WithPredicates(leavingChanged())).
		WatchesRawSource(r.Watch.Source(watch.Stage)).
		WithOptions(r.Options()).
		Build(r)
	if err != nil {
		return err
	}
	return r.Autoscaler.Watch(ctx, mgr, c)
}

// Reconcile brings one Stage towards its newest revision.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var stage v1alpha1.Stage
	return r.Pass(ctx, request.NamespacedName, &stage, lifecycle.Steps{
		Reconcile: func(ctx context.Context) (reconcile.Result, error) { return r.reconcile(ctx, &stage) },
		Finalize:  func(ctx context.Context) (time.Duration, error) { return r.finalize(ctx, &stage) },
		Gone: func(context.Context) (reconcile.Result, error) {
			r.progress.forget(request.NamespacedName)
			return reconcile.Result{}, nil
		},
	})
}

func (r *Reconciler) reconcile(ctx context.Context, stage *v1alpha1.Stage) (reconcile.Result, error) {
	seen, err := r.gather(ctx, stage)
	if err != nil {
		return reconcile.Result{}, err
	}
	if wait := decide.AwaitsRevision(seen.Observed, r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	intent := decide.Decide(seen.Observed, r.Cluster)
	done := r.apply(ctx, seen, intent)
	r.follow(seen)
	rep := report{seen: seen.Observed, intent: intent, done: done}
	return r.conclude(rep, func(before *v1alpha1.Stage) error { return r.writeStatus(ctx, stage, before, rep) })
}

// conclude says what came of a pass: in Events, in the status, which write writes where it is another than before, and in when to look
// again. It reads nothing.
func (r *Reconciler) conclude(rep report, write func(before *v1alpha1.Stage) error) (reconcile.Result, error) {
	stage, done := rep.seen.Stage, rep.done
	r.eventOutcome(stage, rep.intent, done)
	before := stage.DeepCopy()
	return lifecycle.End(func() error { return write(before) }, done.kubernetes, func() (reconcile.Result, error) {
		moved := r.progress.moved(client.ObjectKeyFromObject(stage), rep.seen, r.Now())
		return r.next(stage, before, done, moved || rep.unwatched()), nil
	})
}

// follow has the controller woken when what this pass looked at changes.
func (r *Reconciler) follow(s *snapshot) {
	if s.Newest == nil {
		return
	}
	interest := watch.Interest{Pipeline: client.ObjectKey{Namespace: s.Stage.Namespace, Name: s.Stage.Spec.PipelineRef.Name}}
	for _, c := range s.Newest.Consumers() {
		if !slices.Contains(interest.Streams, c.Stream) {
			interest.Streams = append(interest.Streams, c.Stream)
		}
		interest.Consumers = append(interest.Consumers, watch.Consumer{Stream: c.Stream, Name: c.Durable})
	}
	r.Follow(s.Stage, s.nats, s.NATSErr, interest)
}

// writeStatus patches the status once, and only when it changed. Where the Pipeline controller was first, it is written on top of
// that: what this pass did, such as what a new consumer found, no other pass will find out.
func (r *Reconciler) writeStatus(ctx context.Context, stage, before *v1alpha1.Stage, rep report) error {
	for {
		setStatus(&stage.Status, rep, r.Now())
		err := r.PatchSharedStatus(ctx, stage, before)
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
		return r.Retry(stage, v1alpha1.ConditionWorkersAvailable, failure.First)
	case done.waiting():
		return r.Retry(stage, v1alpha1.ConditionConsumersReady, soon)
	// Who sets the number of workers, and why it is this one, is not told by NATS.
	// Nor is that something of somebody else's has gone out of the way.
	case moved, moving(before.Status, stage.Status), stage.Status.Autoscaling != nil:
		interval = r.Fresh
	}
	return r.Later(stage, interval)
}

// unwatched reports whether the stage waits for what no watch tells of: an object of somebody else's that has its name, or a Secret.
func (rep report) unwatched() bool {
	run := rep.intent.Run
	return rep.seen.Taken != "" || rep.done.taken != "" || run != nil && rep.seen.Unpaired[run.Name]
}

// draining reports whether workers are at work on inputs that the stage is not to have any more.
func draining(stage *v1alpha1.Stage) bool {
	c := meta.FindStatusCondition(stage.Status.Conditions, v1alpha1.ConditionInputsDrained)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == v1alpha1.ReasonEventsLeft
}

// moving reports whether the numbers of the consumers will be others soon.
func moving(before, after v1alpha1.StageStatus) bool {
	return meta.IsStatusConditionFalse(after.Conditions, v1alpha1.ConditionBreakersClosed) || after.Lag != nil && *after.Lag > 0 || !equality.Semantic.DeepEqual(before.Consumers, after.Consumers) ||
		!equality.Semantic.DeepEqual(before.Duplicates, after.Duplicates)
}
