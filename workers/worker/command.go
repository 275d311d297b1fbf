package worker

import (
	"errors"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/stage"
)

// NewRegistry makes the factories of a worker. main passes it in: this package does not
// know the kinds of stage. kubernetesSnapshot is a file that answers Kubernetes look-ups;
// when it is empty, the cluster that the worker runs in does.
type NewRegistry func(kubernetesSnapshot string) stage.Registry

// Command is `millrace worker`.
func Command(newRegistry NewRegistry) *cobra.Command {
	var o Options
	var snapshot string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "worker --config FILE [--listen ADDRESS]",
		Short: "Run one stage of a pipeline, as the operator starts it",
		Long: `Run one stage of a pipeline. The operator starts workers with a config that it wrote;
to run a whole pipeline by hand use millrace run.

SIGTERM drains: what is in hand is finished, stored and acknowledged, the rest goes back to
the stream at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.ConfigFile == "" {
				return usage.Error{Err: errors.New("--config is missing: the file with the stage config")}
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			o.Registry = newRegistry(snapshot)
			return Run(cmd.Context(), o)
		},
		SilenceUsage: true, SilenceErrors: true,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.ConfigFile, "config", "", "file with the stage config, as the operator writes it")
	flags.StringVar(&o.NATSFiles, "nats-files", "", "folder of the files of nats in the config: credentials and certificates; they are read again at each connect")
	flags.StringVar(&o.ModelFiles, "model-files", "/etc/millrace-models", "folder of the files with models that the settings of the stage name")
	flags.StringVar(&o.SecretFiles, "secret-files", "/etc/millrace-secrets", "folder of the files with secrets that the settings of the stage name")
	flags.StringVar(&o.ListenAddr, "listen", defaultListen(os.Getenv("POD_IP")), "address of /healthz, /readyz and /metrics")
	flags.StringVar(&snapshot, "kubernetes-snapshot", "", "file that answers Kubernetes look-ups instead of the cluster: kubectl get pods,nodes,replicasets,deployments,services,namespaces -A -o json")
	flags.BoolVar(&o.Profiles, "pprof", false, "serve Go profiles below /debug/pprof/ of --listen; for debugging, whoever reaches the address can read them")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

// defaultListen is port 8080 of the pod, or of every address outside a pod.
func defaultListen(podIP string) string { return net.JoinHostPort(podIP, "8080") }
