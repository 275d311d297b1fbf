package operator

import (
	"context"
	"fmt"
	"net/http"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"millrace.dev/millrace/controllers/internal/access"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/journal"
	"millrace.dev/millrace/controllers/internal/lifecycle"
	"millrace.dev/millrace/controllers/internal/metrics"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/watch"
	"millrace.dev/millrace/controllers/lag"
	"millrace.dev/millrace/controllers/pipeline"
	"millrace.dev/millrace/controllers/stage"
)

// recorderName is the reporting controller of Events.
const recorderName = "millrace-operator"

// controller is what the list below holds.
type controller interface {
	SetupWithManager(ctx context.Context, mgr ctrl.Manager) error
}

// addControllers adds everything that runs: the one list of all controllers. It returns what measures the stages.
func addControllers(ctx context.Context, mgr ctrl.Manager, options Options, work *metrics.Work) (*lag.Meter, error) {
	var watcher *watch.Watch
	pool := jetstream.NewPool(jetstream.PoolOptions{
		Notify: func(n jetstream.Notice) { watcher.Notify(n) }, Requested: work.Requested, Log: mgr.GetLogger().WithName("nats"),
	})
	if err := mgr.Add(pool); err != nil {
		return nil, err
	}
	if err := graph.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, fmt.Errorf("index stages: %w", err)
	}
	if err := revision.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, fmt.Errorf("index revisions: %w", err)
	}
	if err := cacheAtOnce(ctx, mgr.GetCache()); err != nil {
		return nil, err
	}
	planner, err := graph.NewPlanner(options.NATS)
	if err != nil {
		return nil, err
	}
	nats := access.New(access.Options{
		Objects: mgr.GetAPIReader(), Pool: pool,
		Default:       options.defaultServer(),
		AllowUnpaired: !options.RequireSecretAnnotation,
	})
	watcher = watch.New(nats, options.StatusInterval)
	if err := mgr.Add(watcher); err != nil {
		return nil, err
	}
	applier, err := apply.New(mgr.GetClient(), time.Now)
	if err != nil {
		return nil, err
	}
	monitors, err := durability.Parse(options.NATSMonitorURL)
	if err != nil {
		return nil, fmt.Errorf("--nats-monitor-url: %w", err)
	}
	recorder := &journal.Recorder{
		EventRecorder: mgr.GetEventRecorder(recorderName), Log: mgr.GetLogger(), Scheme: mgr.GetScheme(), Repaired: work.Repaired,
	}
	scaler, err := addAutoscaling(mgr, options, applier, &lag.Meter{
		Client: mgr.GetClient(), Access: nats, Cluster: options.ClusterName,
		Now: time.Now, Every: measureEvery, Down: options.ScaleDownWindow,
	})
	if err != nil {
		return nil, err
	}
	shared := func(kind watch.Kind) lifecycle.Controller {
		return lifecycle.Controller{
			Kind: kind, Client: mgr.GetClient(), Applier: applier, Access: nats, Recorder: recorder, Work: work, Now: time.Now,
			Cluster: options.ClusterName, Watch: watcher, Resync: options.Resync, Fresh: options.StatusInterval,
			CleanupTimeout: options.CleanupTimeout, Concurrency: options.Concurrency,
		}
	}
	for _, c := range []controller{
		&pipeline.Reconciler{
			Controller: shared(watch.Pipeline), Planner: planner,
			Durability: &durability.Checker{Monitors: monitors, HTTP: &http.Client{Timeout: 5 * time.Second}, Now: time.Now},
			Settings: revision.Settings{
				Version: options.Version, Image: options.WorkerImage, ServiceAccount: options.WorkerServiceAccount, Tracing: options.Tracing,
			},
		},
		&stage.Reconciler{
			Controller: shared(watch.Stage), Autoscaler: scaler, Reader: mgr.GetAPIReader(), DrainTimeout: options.DrainTimeout,
		},
	} {
		if err := c.SetupWithManager(ctx, mgr); err != nil {
			return nil, fmt.Errorf("set up controller: %w", err)
		}
	}
	return scaler.Meter, nil
}
