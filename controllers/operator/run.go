package operator

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/apply"
	"millrace.dev/millrace/controllers/internal/labels"
	"millrace.dev/millrace/controllers/internal/metrics"
	"millrace.dev/millrace/controllers/lag"
)

// LeaseName is the Lease that the operator that leads holds, in the namespace of the election.
const LeaseName = "operator.millrace.dev"

// Run runs the operator until the context ends.
func Run(ctx context.Context, config *rest.Config, options Options, logger logr.Logger) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, managerOptions(scheme, options, logger))
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	work := metrics.NewWork()
	meter, err := addControllers(ctx, mgr, options, work)
	if err != nil {
		return err
	}
	if err := addAdmission(mgr, options); err != nil {
		return err
	}
	if err := addConsole(mgr, options); err != nil {
		return err
	}
	unregister, err := addMetrics(ctx, mgr, options, meter, work)
	if err != nil {
		return err
	}
	defer unregister()
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run the operator: %w", err)
	}
	return nil
}

// addMetrics has the metrics server show Pipelines, Stages, what the meter reads and what the operator does. controller-runtime has one
// registry in the process; of several operators in it the first one is shown.
func addMetrics(ctx context.Context, mgr ctrl.Manager, options Options, meter *lag.Meter, work *metrics.Work) (unregister func(), err error) {
	var registered []prometheus.Collector
	unregister = func() {
		for _, c := range registered {
			ctrlmetrics.Registry.Unregister(c)
		}
	}
	for _, c := range []prometheus.Collector{
		metrics.New(ctx, metrics.Options{Reader: mgr.GetClient(), Elected: mgr.Elected(), Log: mgr.GetLogger()}),
		lag.NewGauges(meter), work,
	} {
		var taken prometheus.AlreadyRegisteredError
		switch err := ctrlmetrics.Registry.Register(c); {
		case err == nil:
			registered = append(registered, c)
		case options.SeveralInProcess && errors.As(err, &taken):
		default:
			unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return unregister, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, admissionregistration.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

func managerOptions(scheme *runtime.Scheme, options Options, logger logr.Logger) ctrl.Options {
	return ctrl.Options{
		Scheme: scheme,
		Logger: logger,
		Cache:  cacheOptions(options.WatchNamespaces),
		// Secrets are read one by one, past the cache; see package access.
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller:                    ctrlconfig.Controller{SkipNameValidation: &options.SeveralInProcess},
		Metrics:                       metricsOptions(options),
		HealthProbeBindAddress:        options.ProbeAddress,
		LeaderElection:                options.LeaderElect,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true, // the process ends when Run returns
	}
}

// metricsOptions have the metrics served by TLS to whoever has a token of the cluster and may get /metrics, unless that is switched off.
func metricsOptions(options Options) metricsserver.Options {
	o := metricsserver.Options{BindAddress: options.MetricsAddress}
	if options.MetricsAuthentication {
		o.SecureServing, o.CertDir = true, options.MetricsCertDir
		o.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return o
}

// cacheOptions keep the caches as small as the operator's own objects.
func cacheOptions(namespaces []string) cache.Options {
	ours := cache.ByObject{Label: ownLabels()}
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.Deployment{}: ours, &appsv1.ControllerRevision{}: ours, &corev1.ConfigMap{}: ours, &autoscalingv2.HorizontalPodAutoscaler{}: ours,
		},
		DefaultTransform: keepOwnFields,
		// A read of what is not watched would start a watch of the whole cluster: an error instead.
		ReaderFailOnMissingInformer: true,
		DefaultNamespaces:           cached(namespaces),
	}
}

// ownLabels select the operator's own objects.
func ownLabels() k8slabels.Selector {
	return k8slabels.SelectorFromSet(k8slabels.Set{labels.ManagedBy: labels.Operator})
}

// cached are the namespaces to cache; nil is all.
func cached(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	all := map[string]cache.Config{}
	for _, namespace := range namespaces {
		all[namespace] = cache.Config{}
	}
	return all
}

// keepOwnFields drops the managed fields of others: only the operator's own are compared.
func keepOwnFields(object any) (any, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object, nil //nolint:nilerr // a tombstone has no metadata
	}
	var own []metav1.ManagedFieldsEntry
	for _, e := range accessor.GetManagedFields() {
		if e.Manager == string(apply.FieldOwner) && e.Operation == metav1.ManagedFieldsOperationApply {
			own = append(own, e)
		}
	}
	accessor.SetManagedFields(own)
	return object, nil
}
