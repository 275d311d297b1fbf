// Command millrace runs event pipelines on NATS JetStream: as a Kubernetes operator, as
// the workers that the operator starts, or as a whole pipeline in one process on a laptop.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/check"
	"millrace.dev/millrace/controllers/deadletter"
	"millrace.dev/millrace/controllers/diff"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/operator"
	"millrace.dev/millrace/controllers/permissions"
	"millrace.dev/millrace/controllers/replay"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/controllers/view/draw"
	"millrace.dev/millrace/controllers/view/top"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/cel/explore"
	collectkubernetes "millrace.dev/millrace/workers/collect/kubernetes"
	"millrace.dev/millrace/workers/compare"
	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/experiment"
	"millrace.dev/millrace/workers/gather"
	"millrace.dev/millrace/workers/join"
	"millrace.dev/millrace/workers/local"
	"millrace.dev/millrace/workers/local/pipelinetest"
	"millrace.dev/millrace/workers/route"
	"millrace.dev/millrace/workers/sink"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/transform"
	"millrace.dev/millrace/workers/validate"
	"millrace.dev/millrace/workers/worker"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains; restoring the default makes a second one end the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes the command line and returns the exit code: 0 done, 1 the work failed,
// 2 wrong usage.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "millrace:", err)
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		if coded.ExitCode() == 2 {
			fmt.Fprintf(os.Stderr, "Run '%s --help' for usage.\n", called.CommandPath())
		}
		return coded.ExitCode()
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "millrace",
		Short:         "Event pipelines on NATS JetStream",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	collect := &cobra.Command{Use: "collect", Short: "Run a collector of raw events"}
	collect.AddCommand(collectkubernetes.Command())
	root.AddCommand(local.Command(localRegistry), pipelinetest.Command(localRegistry), explore.Command(), manifest.Command(), draw.Command(), diff.Command(),
		permissions.Command(), operator.Command(), check.Command(), worker.Command(workerRegistry), collect,
		top.Command(), cli.TapCommand(), cli.TraceCommand(), cli.IncidentsCommand(), cli.PatternsCommand(), replay.Command(), deadletter.Command())
	wrapAll(root)
	return root
}

// wrapAll makes wrong arguments a matter of usage, of a command and all below it.
func wrapAll(c *cobra.Command) {
	wrapArgs(c)
	for _, sub := range c.Commands() {
		wrapAll(sub)
	}
}

// wrapArgs makes wrong arguments a matter of usage.
func wrapArgs(c *cobra.Command) {
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage.Error{Err: err}
		}
		return nil
	}
}

// workerRegistry holds the kinds of stage as workers in a cluster run them. A snapshot stands
// for the cluster.
func workerRegistry(kubernetesSnapshot string) stage.Registry {
	return registry(enrichkubernetes.Choice{Snapshot: kubernetesSnapshot, Environment: true})
}

// localRegistry holds the same kinds; what they know of a cluster the user says.
func localRegistry(k local.Kubernetes) stage.Registry {
	return registry(enrichkubernetes.Choice{Snapshot: k.Snapshot, Kubeconfig: k.Kubeconfig})
}

func registry(k enrichkubernetes.Choice) stage.Registry {
	return stage.NewRegistry(validate.NewFactory(), enrich.NewFactory(k.Open), correlate.NewFactory(), analyze.NewFactory(),
		route.NewFactory(), transform.NewFactory(), experiment.NewFactory(), compare.NewFactory(), gather.NewFactory(), sink.NewFactory(), join.NewFactory())
}

// buildVersion is the version that the build set, else what Go knows of the module.
func buildVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}
