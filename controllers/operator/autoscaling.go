package operator

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/controllers/lag"
)

const (
	// measureEvery is how often stages that scale are measured.
	measureEvery = 2 * time.Second
	// wakeBuffer is how many stages may wait for the controller to set their workers.
	wakeBuffer = 1024
)

// autoscaler is what the Stage controller needs of it.
type autoscaler struct {
	meter        *lag.Meter
	wake         <-chan event.GenericEvent
	registration *lag.Registration
}

// addAutoscaling adds the measuring of lag and, with the backend external, the server of the metrics.
func addAutoscaling(mgr ctrl.Manager, options Options, meter *lag.Meter) (autoscaler, error) {
	wake := make(chan event.GenericEvent, wakeBuffer)
	meter.Changed = wake
	a := autoscaler{meter: meter, wake: wake}
	backend := scaling.Backend(options.AutoscalingBackend)
	meter.Backend = func() scaling.Backend { return backend }
	if backend == scaling.None {
		return a, nil
	}
	if backend == scaling.External {
		var err error
		if a.registration, err = addMetricsAPI(mgr, options, meter); err != nil {
			return autoscaler{}, err
		}
		meter.Backend = a.registration.Backend
	}
	return a, mgr.Add(meter)
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
	registration := &lag.Registration{
		Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Service: service,
		Secret: secret, Managed: !options.MetricsAPIGiven,
		Elected: mgr.Elected(), Now: time.Now, Log: mgr.GetLogger().WithName("external-metrics"),
	}
	server := &lag.Server{Address: options.MetricsAPIAddress, Meter: meter, Kubernetes: clientset, Certificate: registration.Certificate}
	if err := mgr.Add(registration); err != nil {
		return nil, err
	}
	return registration, mgr.Add(server)
}
