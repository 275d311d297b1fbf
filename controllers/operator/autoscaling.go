package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/autoscale"
	"millrace.dev/millrace/controllers/internal/keda"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/internal/serving"
	"millrace.dev/millrace/controllers/lag"
)

const (
	// measureEvery is how often stages that scale are measured.
	measureEvery = 2 * time.Second
	// wakeBuffer is how many stages may wait for the controller to set their workers.
	wakeBuffer = 1024
)

// addAutoscaling adds the measuring of lag and what the backend needs to get at it.
func addAutoscaling(mgr ctrl.Manager, options Options, applier *apply.Applier, meter *lag.Meter) (*autoscale.Autoscaler, error) {
	wake := make(chan event.GenericEvent, wakeBuffer)
	meter.Changed = wake
	backend, err := addBackend(mgr, options, meter)
	if err != nil {
		return nil, err
	}
	meter.Sets, meter.LeaderOnly = backend.Sets, backend.Name() == scaling.Direct // else every replica is asked
	if backend.Name() != scaling.KEDA {
		err := mgr.Add(&keda.Sweep{
			Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Namespaces: options.WatchNamespaces, Labels: ownLabels(), Log: mgr.GetLogger().WithName("keda"),
		})
		if err != nil {
			return nil, err
		}
	}
	if backend.Name() != scaling.None {
		if err := mgr.Add(meter); err != nil {
			return nil, err
		}
	}
	return &autoscale.Autoscaler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Applier: applier, Backend: backend, Meter: meter, Wake: wake,
	}, nil
}

// addBackend adds what serves the measurements to a backend.
func addBackend(mgr ctrl.Manager, options Options, meter *lag.Meter) (autoscale.Backend, error) {
	switch scaling.Backend(options.AutoscalingBackend) {
	case scaling.External:
		registration, err := addMetricsAPI(mgr, options, meter)
		return autoscale.NewExternal(registration, options.ScaleDownWindow), err
	case scaling.KEDA:
		presence, err := addKEDA(mgr, options)
		if err != nil {
			return nil, err
		}
		url := strings.TrimSuffix(options.ReadingsURL, "/") + lag.ReadingsPath
		return autoscale.KEDA{Presence: presence, Down: options.ScaleDownWindow, ReadingsURL: url}, mgr.Add(readingsServer(options.ReadingsAddress, meter))
	case scaling.Prometheus:
		return autoscale.NewPrometheus(options.ScaleDownWindow), nil
	case scaling.Direct:
		return autoscale.Direct{}, nil
	case scaling.None:
		return autoscale.None{}, nil
	}
	return nil, fmt.Errorf("autoscaling backend %q is unknown", options.AutoscalingBackend)
}

// readingsServer answers KEDA. It is no part of the metrics: KEDA has no token that the operator could check, and what it gets are two
// numbers for a stage whose name it knows.
func readingsServer(address string, meter *lag.Meter) *manager.Server {
	mux := http.NewServeMux()
	mux.Handle(lag.ReadingsPattern, meter.Readings())
	return &manager.Server{Name: "readings", Server: &http.Server{
		Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}, ShutdownTimeout: new(5 * time.Second)}
}

// addKEDA looks whether the cluster has KEDA, again and again.
func addKEDA(mgr ctrl.Manager, options Options) (*keda.Presence, error) {
	client, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("look for KEDA: %w", err)
	}
	// The manager's cache takes the labels to select by at its start, and only of kinds that the cluster has by then. With
	// several namespaces this one runs in the leader alone, which is enough: nobody else reads it.
	objects, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: cached(options.WatchNamespaces), DefaultLabelSelector: ownLabels(), DefaultTransform: keepOwnFields,
	})
	if err != nil {
		return nil, fmt.Errorf("cache of ScaledObjects: %w", err)
	}
	presence := &keda.Presence{Discovery: client, Cache: objects, Log: mgr.GetLogger().WithName("keda")}
	return presence, errors.Join(mgr.Add(objects), mgr.Add(presence))
}

// cacheAtOnce has every replica cache what controllers and meter read. The watches of the controllers do the same, but one after
// the other, and in the leader alone, while the external metrics are asked of any replica.
func cacheAtOnce(ctx context.Context, c cache.Cache) error {
	for _, object := range []client.Object{
		&v1alpha1.Pipeline{}, &v1alpha1.Stage{}, &appsv1.Deployment{}, &appsv1.ControllerRevision{}, &corev1.ConfigMap{},
	} {
		if _, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("cache %T: %w", object, err)
		}
	}
	return nil
}

func addMetricsAPI(mgr ctrl.Manager, options Options, meter *lag.Meter) (*lag.Registration, error) {
	service, err := options.metricsService()
	if err != nil {
		return nil, err
	}
	clientset, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("external metrics: %w", err)
	}
	secret := service
	if options.MetricsAPISecret != "" {
		secret = types.NamespacedName{Namespace: service.Namespace, Name: options.MetricsAPISecret}
	}
	registration := &lag.Registration{Certificate: &serving.Certificate{
		Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Service: service,
		Secret: secret, Managed: !options.MetricsAPIGiven,
		Elected: mgr.Elected(), Now: time.Now, Log: mgr.GetLogger().WithName("external-metrics"),
	}}
	server := &lag.Server{Address: options.MetricsAPIAddress, Meter: meter, Kubernetes: clientset, Certificate: registration.Get}
	if err := mgr.AddReadyzCheck("external-metrics", registration.Ready); err != nil {
		return nil, err
	}
	if err := mgr.Add(registration); err != nil {
		return nil, err
	}
	return registration, mgr.Add(server)
}
