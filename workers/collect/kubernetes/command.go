package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"millrace.dev/millrace/workers/collect"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/usage"
)

// flags of the command.
type flags struct {
	collect.Flags
	bucket              string
	kubeconfig, cluster string
	history             time.Duration
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
	f.Add(cmd, "events.raw.kubernetes")
	fs.StringVar(&f.bucket, "checkpoint-bucket", "", "KV bucket of the checkpoints (default millrace-collect)")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, the pod's service account, ~/.kube/config)")
	fs.StringVar(&f.cluster, "cluster", "", "name of the cluster: k8s.cluster.name of its events (required)")
	fs.DurationVar(&f.history, "history", time.Hour, "how far back the first start looks")
	return cmd
}

func (f *flags) check() error {
	switch {
	case f.cluster == "":
		return usage.Error{Err: errors.New("--cluster is missing: name the cluster, for example --cluster production")}
	case f.history < 0:
		return usage.Error{Err: fmt.Errorf("--history is %s: it cannot be negative", f.history)}
	}
	return f.Check()
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
	connection, js, err := f.Connect("millrace collect kubernetes "+f.cluster, config.CollectorInbox(f.cluster), log)
	if err != nil {
		return err
	}
	defer connection.Close()
	registry := prometheus.NewRegistry()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served, err := f.Serve(ctx, connection, registry, log)
	if err != nil {
		return err
	}
	err = Run(ctx, Options{
		Clientset: client, Metadata: meta, JetStream: js, Subject: f.Subject, Cluster: f.cluster, Bucket: f.bucket,
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
