package operator

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/console/identity"
	"millrace.dev/millrace/controllers/internal/durability"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/internal/revision"
	"millrace.dev/millrace/controllers/internal/scaling"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Command returns `millrace operator`.
func Command() *cobra.Command {
	options := DefaultOptions()
	var logLevel, logFormat string
	c := &cobra.Command{
		Use:   "operator",
		Short: "Run the Kubernetes operator: Pipelines become streams, consumers and workers",
		Long: "Run the Kubernetes operator. It connects to the cluster of KUBECONFIG or, inside a pod,\n" +
			"to its own, and to NATS at --nats-url or where a Pipeline says.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.check(); err != nil {
				return usage.Error{Err: err}
			}
			logger, err := newLogger(cmd.ErrOrStderr(), logLevel, logFormat)
			if err != nil {
				return usage.Error{Err: err}
			}
			options.Version = cmd.Root().Version
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			cluster, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("find the cluster: %w; set KUBECONFIG or run in a pod", err)
			}
			cluster.QPS = -1 // the API server's own fairness decides
			if options.LeaderElectionNamespace == "" {
				if options.LeaderElectionNamespace, err = ownNamespace(); err != nil {
					return fmt.Errorf("find the operator's namespace: %w; set --leader-election-namespace", err)
				}
			}
			return Run(cmd.Context(), cluster, options, logger)
		},
	}
	f := c.Flags()
	f.StringVar(&options.NATS.URL, "nats-url", options.NATS.URL, "NATS server of Pipelines that name none, as URLs separated by commas")
	connect.Flags(c, &options.NATS)
	f.StringVar(&options.NATSMonitorURL, "nats-monitor-url", options.NATSMonitorURL,
		"monitoring URLs of all servers of --nats-url, separated by commas (http://nats:8222): Pipelines with durability PowerSafe are checked there")
	f.BoolVar(&options.RequireSecretAnnotation, "require-secret-annotation", options.RequireSecretAnnotation,
		"use a Secret that a Pipeline or Stage names only for servers in its annotation "+v1alpha1.AnnotationNATSURL+
			", and mount it only for Pipelines in its annotation "+v1alpha1.AnnotationPipelines)
	f.StringVar(&options.WorkerImage, "worker-image", options.WorkerImage, "image of workers; required")
	f.StringVar(&options.WorkerServiceAccount, "worker-service-account", options.WorkerServiceAccount,
		"service account, in the namespace of the Pipeline, of workers that read the cluster")
	f.StringVar(&options.ClusterName, "cluster-name", options.ClusterName,
		"name of this cluster in the metadata of streams; needed when several clusters share a NATS account")
	f.StringSliceVar(&options.WatchNamespaces, "watch-namespaces", options.WatchNamespaces, "namespaces to serve, separated by commas; default all")
	f.BoolVar(&options.LeaderElect, "leader-elect", options.LeaderElect, "elect a leader, so that several replicas may run")
	f.StringVar(&options.LeaderElectionNamespace, "leader-election-namespace", options.LeaderElectionNamespace,
		"namespace of the election's Lease; default the operator's own")
	f.StringVar(&options.MetricsAddress, "metrics-bind-address", options.MetricsAddress, "address of the Prometheus metrics; 0 switches them off")
	f.BoolVar(&options.MetricsAuthentication, "metrics-auth", options.MetricsAuthentication,
		"serve the metrics by TLS, to whoever sends a token of the cluster and may get /metrics; needs the right to create TokenReviews and SubjectAccessReviews")
	f.StringVar(&options.MetricsCertDir, "metrics-cert-dir", options.MetricsCertDir,
		"folder with tls.crt and tls.key for --metrics-auth, read again when they change; default a certificate that nobody has signed")
	f.StringVar(&options.ProbeAddress, "health-probe-bind-address", options.ProbeAddress, "address of /healthz and /readyz; 0 switches them off")
	f.DurationVar(&options.CleanupTimeout, "nats-cleanup-timeout", options.CleanupTimeout,
		"for how long a deletion tries again, from the first failure, before it leaves streams or consumers behind")
	f.DurationVar(&options.DrainTimeout, "drain-timeout", options.DrainTimeout,
		"how long the deletion of a stage waits until its workers have processed what was stored for it; 0s = not at all")
	f.DurationVar(&options.Resync, "resync-interval", options.Resync,
		"how often everything is checked even if nothing says that it changed")
	f.DurationVar(&options.StatusInterval, "status-interval", options.StatusInterval,
		"how often lag and other numbers in status are refreshed while events flow")
	f.IntVar(&options.Concurrency, "concurrency", options.Concurrency, "Pipelines and Stages reconciled at the same time, of each")
	f.StringVar(&options.Tracing.Endpoint, "otlp-endpoint", options.Tracing.Endpoint,
		"URL of the OTLP receiver that workers send their traces to (http://otel-collector:4318); default no traces. A change replaces the workers")
	f.StringVar(&options.Tracing.Protocol, "otlp-protocol", options.Tracing.Protocol, "protocol of --otlp-endpoint: http/protobuf or grpc")
	f.Float64Var(&options.Tracing.SampleRatio, "trace-sample-ratio", options.Tracing.SampleRatio,
		"part of new traces that is kept, from 0 to 1; what comes in with a trace context keeps the decision that it came with")
	f.StringVar(&options.AutoscalingBackend, "autoscaling-backend", options.AutoscalingBackend,
		"who sets the workers of stages with workers.max: external (HorizontalPodAutoscalers, which read the external metrics that the operator serves),\n"+
			"keda (ScaledObjects of KEDA), prometheus (HorizontalPodAutoscalers, which read the operator's metrics out of Prometheus by an adapter),\n"+
			"direct (the operator) or none")
	f.StringVar(&options.ReadingsAddress, "readings-bind-address", options.ReadingsAddress,
		"address at which the backend keda answers KEDA: two numbers for each stage, without authentication")
	f.StringVar(&options.ReadingsURL, "readings-url", options.ReadingsURL,
		"`URL` at which KEDA reaches --readings-bind-address (http://millrace-readings.millrace.svc:8082); required by the backend keda")
	f.DurationVar(&options.ScaleDownWindow, "scale-down-window", options.ScaleDownWindow,
		"for how long nobody must have wanted more workers before a stage has fewer, or none")
	f.StringVar(&options.MetricsAPIAddress, "external-metrics-bind-address", options.MetricsAPIAddress, "address of the external metrics")
	f.StringVar(&options.MetricsAPIService, "external-metrics-service", options.MetricsAPIService,
		"`namespace/name` of the Service in front of it, which the APIService names; required by the backend external")
	f.StringVar(&options.MetricsAPISecret, "external-metrics-secret", options.MetricsAPISecret,
		"`name` of the Secret with its certificate, in the namespace of the Service; default the name of the Service")
	f.BoolVar(&options.MetricsAPIGiven, "external-metrics-secret-given", options.MetricsAPIGiven,
		"somebody else, such as cert-manager, makes and renews what is in that Secret")
	f.StringVar(&options.Webhook.Address, "webhook-bind-address", options.Webhook.Address,
		"address of the admission webhook, which refuses at kubectl apply what the planner refuses; default no webhook")
	f.StringVar(&options.Webhook.Service, "webhook-service", options.Webhook.Service, "`namespace/name` of the Service in front of the admission webhook")
	f.StringVar(&options.Webhook.Configuration, "webhook-configuration", options.Webhook.Configuration,
		"`name` of the ValidatingWebhookConfiguration that leads to that Service; the operator writes its CA there")
	f.StringVar(&options.Webhook.Secret, "webhook-secret", options.Webhook.Secret,
		"`name` of the Secret with the webhook's certificate, in the namespace of the Service; default the name of the Service")
	f.BoolVar(&options.Webhook.SecretGiven, "webhook-secret-given", options.Webhook.SecretGiven,
		"somebody else, such as cert-manager, makes and renews what is in that Secret")
	f.StringVar(&options.Console.Address, "console-bind-address", options.Console.Address,
		"address of the console, a web page that shows pipelines to who may get them; default no console")
	f.BoolVar(&options.Console.ReadOnly, "console-read-only", options.Console.ReadOnly,
		"nobody replays dead letters in the console; else whoever may update the Pipeline does")
	f.StringVar(&options.Console.Service, "console-service", options.Console.Service, "`namespace/name` of the Service in front of the console")
	f.StringVar(&options.Console.Secret, "console-secret", options.Console.Secret,
		"`name` of the Secret with the console's certificate, in the namespace of the Service; default the name of the Service")
	f.BoolVar(&options.Console.SecretGiven, "console-secret-given", options.Console.SecretGiven,
		"somebody else, such as cert-manager, makes and renews what is in that Secret")
	f.StringSliceVar(&options.Console.Hosts, "console-hosts", options.Console.Hosts,
		"names, without ports, that the console is reached by besides localhost and those of its Service, separated by commas")
	f.StringSliceVar(&options.Console.ProxyAddresses, "console-proxy-addresses", options.Console.ProxyAddresses,
		"addresses or networks of a proxy that names users in X-Forwarded-User and X-Forwarded-Groups, separated by commas; default nobody may")
	f.StringVar(&options.Console.ProxySecretFile, "console-proxy-secret-file", options.Console.ProxySecretFile,
		"file with the secret that such a proxy sends in "+identity.SecretHeader)
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&logFormat, "log-format", "json", "json or text")
	return c
}

// ownNamespace is that of the kubeconfig's context or, inside a pod, that of the pod.
func ownNamespace() (string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	namespace, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).Namespace()
	return namespace, err
}

// Options of the operator.
type Options struct {
	// Version of the operator.
	Version string
	// NATS is the server of Pipelines that name none, and the operator's own files for it.
	NATS config.NATS
	// NATSMonitorURL is one or more monitoring URLs, separated by commas.
	NATSMonitorURL string
	// RequireSecretAnnotation refuses Secrets of Pipelines that do not say which server they are for.
	RequireSecretAnnotation           bool
	WorkerImage, WorkerServiceAccount string
	ClusterName                       string
	WatchNamespaces                   []string
	LeaderElect                       bool
	LeaderElectionNamespace           string
	MetricsAddress, ProbeAddress      string
	// MetricsAuthentication serves the metrics by TLS to who may get them, with the certificate in MetricsCertDir or one of its own.
	MetricsAuthentication bool
	MetricsCertDir        string
	CleanupTimeout        time.Duration
	// DrainTimeout is how long a deletion waits for what a stage has to process.
	DrainTimeout           time.Duration
	Resync, StatusInterval time.Duration
	Concurrency            int
	// Tracing of the workers.
	Tracing revision.Tracing
	// AutoscalingBackend is external, keda, prometheus, direct or none.
	AutoscalingBackend string
	// ReadingsAddress is where KEDA is answered, and ReadingsURL where it reaches that.
	ReadingsAddress, ReadingsURL string
	// ScaleDownWindow is for how long nobody must have wanted more workers before there are fewer.
	ScaleDownWindow time.Duration
	// MetricsAPIAddress, MetricsAPIService (namespace/name) and MetricsAPISecret are those of the external
	// metrics; MetricsAPIGiven says that somebody else keeps the Secret.
	MetricsAPIAddress, MetricsAPIService, MetricsAPISecret string
	MetricsAPIGiven                                        bool
	// Webhook is the admission webhook.
	Webhook Webhook
	// Console is the web page.
	Console Console
	// SeveralInProcess allows more than one operator in a process: for tests.
	SeveralInProcess bool
}

// DefaultOptions are the defaults of the flags.
func DefaultOptions() Options {
	return Options{
		RequireSecretAnnotation: true,
		MetricsAddress:          ":8080", MetricsAuthentication: true, ReadingsAddress: ":8082", ProbeAddress: ":8081",
		CleanupTimeout: time.Minute, DrainTimeout: 10 * time.Minute, Resync: 5 * time.Minute, StatusInterval: 10 * time.Second, Concurrency: 8,
		Tracing:            revision.Tracing{Protocol: protocolHTTP, SampleRatio: 0.01},
		Console:            Console{ReadOnly: true},
		AutoscalingBackend: string(scaling.Direct), ScaleDownWindow: 5 * time.Minute, MetricsAPIAddress: ":6443",
	}
}

func (o Options) check() error {
	_, err := durability.Parse(o.NATSMonitorURL)
	switch {
	case err != nil:
		return fmt.Errorf("--nats-monitor-url: %w", err)
	case o.WorkerImage == "":
		return fmt.Errorf("--worker-image is missing: name the image that workers run, normally the operator's own")
	case o.CleanupTimeout <= 0:
		return fmt.Errorf("--nats-cleanup-timeout is %s: it must be positive", o.CleanupTimeout)
	case o.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %s: it must not be negative", o.DrainTimeout)
	case o.Resync < time.Second:
		return fmt.Errorf("--resync-interval is %s: at least 1s", o.Resync)
	case o.StatusInterval < time.Second:
		return fmt.Errorf("--status-interval is %s: at least 1s", o.StatusInterval)
	case o.Concurrency < 1:
		return fmt.Errorf("--concurrency is %d: at least 1", o.Concurrency)
	case o.ScaleDownWindow < time.Second || o.ScaleDownWindow > time.Hour:
		return fmt.Errorf("--scale-down-window is %s: from 1s to 1h", o.ScaleDownWindow)
	}
	return errors.Join(connect.CheckFlags(o.NATS), checkTracing(o.Tracing), o.checkAutoscaling(), o.Webhook.check(), o.Console.check())
}

// The protocols of OTLP.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

func checkTracing(t revision.Tracing) error {
	if t.Protocol != protocolHTTP && t.Protocol != protocolGRPC {
		return fmt.Errorf("--otlp-protocol is %q: use %s or %s", t.Protocol, protocolHTTP, protocolGRPC)
	}
	if !(t.SampleRatio >= 0 && t.SampleRatio <= 1) {
		return fmt.Errorf("--trace-sample-ratio is %g: from 0 to 1", t.SampleRatio)
	}
	if t.Endpoint != "" && !isHTTP(t.Endpoint) {
		return fmt.Errorf("--otlp-endpoint is %q: use a URL with http or https, also for grpc (http://otel-collector:4317)", t.Endpoint)
	}
	return nil
}

// isHTTP says whether a text is a URL with a host, and http or https.
func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func (o Options) checkAutoscaling() error {
	switch scaling.Backend(o.AutoscalingBackend) {
	case scaling.Direct, scaling.None:
		return nil
	case scaling.Prometheus:
		if o.MetricsAddress == "0" {
			return fmt.Errorf("--metrics-bind-address is 0: the backend %s needs the metrics", o.AutoscalingBackend)
		}
		return nil
	case scaling.KEDA:
		if _, _, err := net.SplitHostPort(o.ReadingsAddress); err != nil {
			return fmt.Errorf("--readings-bind-address is %q: use host:port, such as :8082", o.ReadingsAddress)
		}
		if !isHTTP(o.ReadingsURL) {
			return fmt.Errorf("--readings-url is %q: the backend keda needs the URL of the Service that leads to --readings-bind-address (http://millrace-readings.millrace.svc:8082)", o.ReadingsURL)
		}
		return nil
	case scaling.External:
		if _, err := o.metricsService(); err != nil {
			return err
		}
		return nil
	default:
		return fmt.Errorf("--autoscaling-backend is %q: use external, keda, prometheus, direct or none", o.AutoscalingBackend)
	}
}

// defaultServer is the NATS server of Pipelines that name none.
func (o Options) defaultServer() jetstream.Server {
	return jetstream.Server{URL: o.NATS.URL, Domain: o.NATS.JetStreamDomain, Files: o.NATS}
}

// metricsService is the Service in front of the external metrics.
func (o Options) metricsService() (types.NamespacedName, error) {
	name, ok := namespacedName(o.MetricsAPIService)
	if !ok {
		return types.NamespacedName{}, fmt.Errorf("--external-metrics-service is %q: the backend external needs the namespace/name of the Service that leads to "+
			"--external-metrics-bind-address", o.MetricsAPIService)
	}
	return name, nil
}

// namespacedName reads namespace/name; false when one of them is missing.
func namespacedName(text string) (types.NamespacedName, bool) {
	namespace, name, ok := strings.Cut(text, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok && namespace != "" && name != ""
}

func newLogger(out io.Writer, level, format string) (logr.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level is %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(out, options)), nil
	case "text":
		return logr.FromSlogHandler(slog.NewTextHandler(out, options)), nil
	default:
		return logr.Logger{}, fmt.Errorf("--log-format is %q: use json or text", format)
	}
}
