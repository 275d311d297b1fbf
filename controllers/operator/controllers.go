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
	"millrace.dev/millrace/controllers/internal/scaling"
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

// addControllers adds everything that runs: the one list of all controllers.
func addControllers(ctx context.Context, mgr ctrl.Manager, options Options) error {
	var watcher *watch.Watch
	pool := jetstream.NewPool(jetstream.PoolOptions{Notify: func(n jetstream.Notice) { watcher.Notify(n) }})
	if err := mgr.Add(pool); err != nil {
		return err
	}
	if err := graph.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index stages: %w", err)
	}
	planner, err := graph.NewPlanner(options.NATS.URL)
	if err != nil {
		return err
	}
	nats := access.New(access.Options{
		Objects: mgr.GetAPIReader(), Pool: pool,
		Default: jetstream.Server{URL: options.NATS.URL, Files: options.NATS},
	})
	watcher = watch.New(nats, options.StatusInterval)
	if err := mgr.Add(watcher); err != nil {
		return err
	}
	applier, err := apply.New(mgr.GetClient(), time.Now)
	if err != nil {
		return err
	}
	monitors, err := durability.Parse(options.NATSMonitorURL)
	if err != nil {
		return fmt.Errorf("--nats-monitor-url: %w", err)
	}
	recorder := mgr.GetEventRecorder(recorderName)
	scaler, err := addAutoscaling(ctx, mgr, options, &lag.Meter{
		Client: mgr.GetClient(), Access: nats, Planner: planner, Now: time.Now, Every: measureEvery, Down: options.ScaleDownWindow,
	})
	if err != nil {
		return err
	}
	for _, c := range []controller{
		&pipeline.Reconciler{
			Client: mgr.GetClient(), Applier: applier, Access: nats, Planner: planner, Recorder: recorder, Now: time.Now,
			Durability: &durability.Checker{Monitors: monitors, HTTP: &http.Client{Timeout: 5 * time.Second}, Now: time.Now},
			Cluster:    options.ClusterName, Watch: watcher, Resync: options.Resync, Fresh: options.StatusInterval,
			CleanupTimeout: options.CleanupTimeout, Concurrency: options.Concurrency,
		},
		&stage.Reconciler{
			Client: mgr.GetClient(), Applier: applier, Access: nats, Planner: planner, Recorder: recorder, Now: time.Now,
			Settings: stage.Settings{
				Version: options.Version, Image: options.WorkerImage, ServiceAccount: options.WorkerServiceAccount, Cluster: options.ClusterName,
				Tracing: options.Tracing,
				Backend: scaling.Backend(options.AutoscalingBackend), ScaleDownWindow: options.ScaleDownWindow,
			},
			Meter: scaler.meter, Wake: scaler.wake, Registration: scaler.registration,
			Watch: watcher, Resync: options.Resync, Fresh: options.StatusInterval,
			CleanupTimeout: options.CleanupTimeout, DrainTimeout: options.DrainTimeout, Concurrency: options.Concurrency,
		},
	} {
		if err := c.SetupWithManager(ctx, mgr); err != nil {
			return fmt.Errorf("set up controller: %w", err)
		}
	}
	return nil
}
