package pipeline

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/pipeline/internal/decide"
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
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes streams and child Stages of Pipelines.
type Reconciler struct {
	lifecycle.Controller
	Planner *graph.Planner
	// Durability knows whether the operator's NATS server syncs every message.
	Durability *durability.Checker
	// Settings are the operator's choices for all workers.
	Settings revision.Settings

	// told are the Events about dead letters of the last while.
	told limiter
	// begun are the Stages that got their first revision a moment ago.
	begun recent
}

// SetupWithManager registers the controller. graph.Index must have run.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("pipeline").
		For(&v1alpha1.Pipeline{}, builder.WithPredicates(specChanged())).
		Watches(&appsv1.ControllerRevision{}, handler.EnqueueRequestsFromMapFunc(labelledPipeline), lifecycle.MadeOrGone()).
		Watches(&v1alpha1.Stage{}, handler.EnqueueRequestsFromMapFunc(pipelineOf), builder.WithPredicates(stageChanged())).
		Watches(&v1alpha1.Stage{}, soon(), builder.WithPredicates(stageProgressed())).
		WatchesRawSource(r.Watch.Source(watch.Pipeline)).
		WithOptions(r.Options()).
		Complete(r)
}

// Reconcile brings one Pipeline towards its spec.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var pipeline v1alpha1.Pipeline
	return r.Pass(ctx, request.NamespacedName, &pipeline, lifecycle.Steps{
		Reconcile: func(ctx context.Context) (reconcile.Result, error) { return r.reconcile(ctx, &pipeline) },
		Finalize:  func(ctx context.Context) (time.Duration, error) { return r.finalize(ctx, &pipeline) },
		Gone: func(ctx context.Context) (reconcile.Result, error) {
			behind, err := r.orphans(ctx, request.NamespacedName)
			return catchUp(behind), err
		},
	})
}

func (r *Reconciler) reconcile(ctx context.Context, pipeline *v1alpha1.Pipeline) (reconcile.Result, error) {
	seen, err := r.gather(ctx, pipeline)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent := decide.Decide(seen.Observed, r.Cluster, r.Settings)
	done := r.apply(ctx, seen, intent)
	r.follow(seen)
	rep := report{seen: seen.Observed, intent: intent, done: done, powerSafe: powerSafe(pipeline, func() (durability.Answer, string) { return r.Durability.Check(ctx) })}
	return r.conclude(rep, func(before *v1alpha1.Pipeline) error { return r.PatchStatus(ctx, pipeline, before) })
}

// conclude says what came of a pass: in Events, in the status, which patch writes where it is another than before, and in when to look
// again. It reads nothing.
func (r *Reconciler) conclude(rep report, patch func(before *v1alpha1.Pipeline) error) (reconcile.Result, error) {
	pipeline, done := rep.seen.Pipeline, rep.done
	r.eventOutcome(pipeline, rep.intent, done)
	r.eventDeadLettered(pipeline, rep.seen.DeadLetters)
	before := pipeline.DeepCopy()
	writeStatus := func() error {
		setStatus(&pipeline.Status, rep, r.Now())
		observe(&pipeline.Status, &before.Status, r.Now())
		return patch(before)
	}
	return lifecycle.End(writeStatus, done.kubernetes, func() (reconcile.Result, error) {
		if done.accepted != nil || done.behind {
			return catchUp(done.accepted == nil), done.accepted
		}
		return r.next(pipeline, before, rep), nil
	})
}

// catchUp has a pass repeated when the cache is behind what was written.
func catchUp(behind bool) reconcile.Result {
	if behind {
		return reconcile.Result{RequeueAfter: apply.CatchUp}
	}
	return reconcile.Result{}
}

// follow has the controller woken when what this pass looked at changes.
func (r *Reconciler) follow(s *snapshot) {
	if s.Resolved.Plan == nil {
		return
	}
	r.Follow(s.Pipeline, s.nats, s.NATSErr, watch.Interest{Pipeline: client.ObjectKeyFromObject(s.Pipeline), Streams: decide.StreamsOf(s.Resolved.Plan)})
	r.Watch.Pulse(s.Pipeline, s.Resolved.Plan.Ingress.Name)
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
		return r.Retry(pipeline, v1alpha1.ConditionStagesReady, failure.First)
	case rep.done.waiting():
		return r.Retry(pipeline, v1alpha1.ConditionStreamsReady, shortestRetry)
	case value(pipeline.Status.Lag) > 0, len(rep.seen.Taken) > 0, rep.powerSafe != nil && rep.powerSafe.Status != metav1.ConditionTrue,
		!equality.Semantic.DeepEqual(before.Status.Streams, pipeline.Status.Streams):
		interval = r.Fresh
	case rep.powerSafe != nil:
		interval = time.Minute
	}
	return r.Later(pipeline, interval)
}
