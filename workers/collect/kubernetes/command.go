package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// flags of the command.
type flags struct {
	nats                config.NATS
	subject, bucket     string
	kubeconfig, cluster string
	history             time.Duration
	listen              string
}

// Command returns the command `kubernetes`, to be added to `millrace collect`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "kubernetes --subject SUBJECT --cluster NAME",
		Short: "Publish what happens in a Kubernetes cluster as raw events",
		Long: `Watches the cluster's events and the state of its pods, nodes and workloads, and
publishes what is new as raw events. It resumes without loss and without doubles:
where it stands is in a NATS KV bucket, and in the stream itself.

Run one collector for each cluster, each on a subject of its own. docs/collectors.md
lists the rights that it needs in Kubernetes and in NATS.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.nats.URL, "nats-url", nats.DefaultURL, "NATS server, or several separated by commas")
	connect.Flags(cmd, &f.nats)
	fs.StringVar(&f.subject, "subject", "events.raw.kubernetes", "subject to publish on; it is the collector's alone")
	fs.StringVar(&f.bucket, "checkpoint-bucket", "", "KV bucket of the checkpoints (default millrace-collect)")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, the pod's service account, ~/.kube/config)")
	fs.StringVar(&f.cluster, "cluster", "", "name of the cluster: k8s.cluster.name of its events (required)")
	fs.DurationVar(&f.history, "history", time.Hour, "how far back the first start looks")
	fs.StringVar(&f.listen, "listen", "", "address of /metrics, /healthz and /readyz, such as :8080 (default none)")
	return cmd
}

func (f *flags) check() error {
	switch {
	case f.cluster == "":
		return usage.Error{Err: errors.New("--cluster is missing: name the cluster, for example --cluster production")}
	case f.subject == "":
		return usage.Error{Err: errors.New("--subject is empty: name the subject to publish on, for example events.raw.kubernetes")}
	case strings.ContainsAny(f.subject, "*> \t"):
		return usage.Error{Err: fmt.Errorf("--subject is %q: want one subject, without wildcards", f.subject)}
	case f.history < 0:
		return usage.Error{Err: fmt.Errorf("--history is %s: it cannot be negative", f.history)}
	}
	if err := connect.CheckFlags(f.nats); err != nil {
		return usage.Error{Err: err}
	}
	return nil
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	client, meta, err := f.clients()
	if err != nil {
		return err
	}
	connection, err := f.dial(log)
	if err != nil {
		return err
	}
	defer connection.Close()
	js, err := jetstream.NewWithAPIPrefix(connection, f.nats.JetStreamDomain.API(""))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	registry := prometheus.NewRegistry()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, err := f.serve(ctx, connection, registry, log)
	if err != nil {
		return err
	}
	err = Run(ctx, Options{
		Clientset: client, Metadata: meta, JetStream: js, Subject: f.subject, Cluster: f.cluster, Bucket: f.bucket,
		History: f.history, Log: log, Now: time.Now, Metrics: registry,
	})
	cancel()
	<-served
	if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
		return nil
	}
	return err
}

// clients reach the cluster: one for objects, and one for their metadata alone.
func (f *flags) clients() (kubernetes.Interface, metadata.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("find the cluster: %w", err)
	}
	cfg.UserAgent = "millrace-collect"
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("kubernetes client: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("kubernetes metadata client: %w", err)
	}
	return client, meta, nil
}

// serve serves metrics and health until ctx ends; the channel is closed then.
func (f *flags) serve(ctx context.Context, connection *nats.Conn, registry *prometheus.Registry, log *slog.Logger) (<-chan struct{}, error) {
	done := make(chan struct{})
	if f.listen == "" {
		close(done)
		return done, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !connection.IsConnected() {
			http.Error(w, errNotConnected.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve metrics", "error", err)
		}
	}()
	context.AfterFunc(ctx, func() {
		_ = server.Close()
		close(done)
	})
	return done, nil
}
