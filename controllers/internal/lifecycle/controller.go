package lifecycle

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/failure"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/metrics"
	"millrace.dev/millrace/controllers/internal/status"
	"millrace.dev/millrace/controllers/internal/watch"
)

// Controller is what the controllers of both kinds are given.
type Controller struct {
	// Kind of the objects.
	Kind     watch.Kind
	Client   client.Client
	Applier  *apply.Applier
	Access   *access.Access
	Recorder events.EventRecorder
	// Work counts the passes.
	Work *metrics.Work
	// Now is the clock.
	Now func() time.Time
	// Cluster is recorded on streams and consumers; it tells operators apart that share a NATS account.
	Cluster string
	// Watch wakes the controller; what it misses is found at the resync.
	Watch *watch.Watch
	// Resync is how often what is in NATS is checked when nothing wakes the controller.
	Resync time.Duration
	// Fresh is how often the numbers in status are refreshed while they move.
	Fresh time.Duration
	// CleanupTimeout bounds how long a deletion waits for NATS that does not answer.
	CleanupTimeout time.Duration
	// Concurrency is the number of objects reconciled at the same time.
	Concurrency int

	// failures of deletions.
	failures failures
}

// Options of the controller in its manager.
func (c *Controller) Options() controller.Options {
	return controller.Options{MaxConcurrentReconciles: c.Concurrency, RateLimiter: failure.Limiter()}
}

// Steps are what a controller does in its own way.
type Steps struct {
	// Reconcile brings the object towards what is desired.
	Reconcile func(context.Context) (reconcile.Result, error)
	// Finalize takes down an object that is being deleted; it returns when to look again, or 0 when the object may go.
	Finalize func(context.Context) (time.Duration, error)
	// Gone is called when there is no object of the name.
	Gone func(context.Context) (reconcile.Result, error)
}

// Pass reads the object of a name, and does what is to be done about it.
func (c *Controller) Pass(ctx context.Context, name types.NamespacedName, object client.Object, steps Steps) (_ reconcile.Result, err error) {
	if err := c.Client.Get(ctx, name, object); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, err
		}
		c.Watch.Forget(c.Kind, name)
		c.failures.forget(name)
		return Again(steps.Gone(ctx))
	}
	defer c.Work.Reconciling(string(c.Kind), object, status.ConditionsOf(object), &err)()
	if c.Applier.Behind(object) {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	if !object.GetDeletionTimestamp().IsZero() {
		return Again(c.finalize(ctx, object, steps.Finalize))
	}
	// Adding the finalizer does not change the generation: this pass goes on.
	if err := apply.AddFinalizer(ctx, c.Client, object); err != nil {
		return Again(reconcile.Result{}, err)
	}
	return Again(steps.Reconcile(ctx))
}

func (c *Controller) finalize(ctx context.Context, object client.Object, takeDown func(context.Context) (time.Duration, error)) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(object, v1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	wait, err := takeDown(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	return reconcile.Result{}, apply.RemoveFinalizer(ctx, c.Client, object)
}

// Again has a pass repeated that wrote to an object which somebody else had written to since it was read: that is no failure.
func Again(result reconcile.Result, err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: apply.CatchUp}, nil
	}
	return result, err
}

// End ends a pass: the status is written before an error of the API server ends it. An error that no retry can mend does not end
// the pass: the status names it, and next says when the next pass is.
func End(writeStatus func() error, failed error, next func() (reconcile.Result, error)) (reconcile.Result, error) {
	if err := writeStatus(); err != nil {
		return reconcile.Result{}, err
	}
	if failed != nil && !failure.Refused(failed) {
		return reconcile.Result{}, failed
	}
	return next()
}

// Retry is when to look again while a condition is not true: at first after so long, then ever less often.
func (c *Controller) Retry(object client.Object, condition string, first time.Duration) reconcile.Result {
	return reconcile.Result{RequeueAfter: status.Backoff(*status.ConditionsOf(object), condition, first, c.Now())}
}

// Later is when to look again if nothing wakes the controller before: after an interval, or at the resync.
func (c *Controller) Later(object client.Object, interval time.Duration) reconcile.Result {
	return reconcile.Result{RequeueAfter: status.Spread(min(interval, c.Resync), object.GetUID())}
}

// Follow has the controller woken when what the pass looked at changes. nats is nil when natsErr says why.
func (c *Controller) Follow(object client.Object, nats *jetstream.Client, natsErr error, interest watch.Interest) {
	interest.Connection = jetstream.ConnectionOf(natsErr)
	if nats != nil {
		interest.Connection = nats.Connection()
	}
	c.Watch.Follow(c.Kind, client.ObjectKeyFromObject(object), interest)
}

// CleanupRetry is how often a deletion that waits looks again.
const CleanupRetry = 2 * time.Second

// RetriesCleanup is told that NATS could not be asked to delete something, and says whether to try again: until it has failed for
// CleanupTimeout, so that a namespace never hangs on a server that is gone.
func (c *Controller) RetriesCleanup(object client.Object, what string, cause error) bool {
	if c.failures.lasting(object, c.Now()) >= c.CleanupTimeout {
		return false
	}
	c.eventRetriesCleanup(object, what, cause)
	return true
}

// Released says when to try a clean-up again that ended with err; 0 when it is done, or when it is given up.
func (c *Controller) Released(object client.Object, what string, err error, giveUp func()) time.Duration {
	switch {
	case err == nil:
		return 0
	case c.RetriesCleanup(object, what, err):
		return CleanupRetry
	}
	giveUp()
	return 0
}

// CleanupWorks is told that NATS has answered.
func (c *Controller) CleanupWorks(object client.Object) {
	c.failures.forget(client.ObjectKeyFromObject(object))
}
