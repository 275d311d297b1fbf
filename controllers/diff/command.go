package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// options are the flags.
type options struct {
	files               []string
	nats                config.NATS
	kubeconfig, context string
	namespace, cluster  string
	output              string
	now                 func() time.Time
}

// coded is an error with the exit code of kubectl diff: 1 where there are differences, more where something failed.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// ExitCode is that of the process.
func (c coded) ExitCode() int { return c.code }

const (
	codeDifferences = 1
	codeFailed      = 3 // 2 is wrong usage
)

// Command is `millrace diff`.
func Command() *cobra.Command { return CommandAt(time.Now) }

// CommandAt is Command with another clock: how old messages are counts from there.
func CommandAt(now func() time.Time) *cobra.Command {
	o := options{now: now}
	cmd := &cobra.Command{
		Use:   "diff -f FILE...",
		Short: "Say what applying a manifest would do",
		Long: `Diff says what applying the Pipeline of a manifest would do, and changes nothing: which streams and consumers are made, changed or
left, which workers restart and which take the edit up while they run, what drains, which data would be dropped, and what the operator
or the API server refuses, with the way out.

It compares with the cluster of the kubeconfig and the NATS server that the Pipeline names. With --nats-url, and without --kubeconfig and
--context, it compares with that server alone; then nothing is known of workers.

The exit code is that of kubectl diff: 0 without changes, 1 with changes, more when something failed.`,
		Example: `  millrace diff -f pipeline.yaml
  millrace diff -f pipeline.yaml --nats-url nats://127.0.0.1:4222 -o json`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usage.Error{Err: err}
			}
			changes, err := o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			switch {
			case err != nil:
				return coded{err, codeFailed}
			case changes > 0:
				return coded{fmt.Errorf("applying would change %d things", changes), codeDifferences}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "file", "f", nil, "file or folder with Pipelines and attached Stages, or - for standard input; may be repeated")
	f.StringVarP(&o.output, "output", "o", "text", "text or json: an object for each Pipeline")
	f.StringVarP(&o.namespace, "namespace", "n", "", "namespace of the Pipelines (default that of the file, else default)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default that of KUBECONFIG, or ~/.kube/config)")
	f.StringVar(&o.context, "context", "", "context of the kubeconfig")
	f.StringVar(&o.cluster, "cluster-name", "", "the --cluster-name of the operator, when it has one")
	f.StringVar(&o.nats.URL, "nats-url", "", "NATS server of Pipelines that name none")
	connect.Flags(cmd, &o.nats)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

func (o *options) check() error {
	switch {
	case len(o.files) == 0:
		return errors.New("diff needs -f: name a file, a folder, or - for standard input")
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("-o is %q: use text or json", o.output)
	}
	return connect.CheckFlags(o.nats)
}

// run compares all Pipelines, and returns how many things would change.
func (o *options) run(ctx context.Context, stdin io.Reader, out io.Writer) (changes int, err error) {
	set, err := o.load(ctx, stdin)
	if err != nil {
		return 0, err
	}
	var objects client.Client
	if o.nats.URL == "" || o.kubeconfig != "" || o.context != "" {
		if objects, _, err = cli.OpenCluster(o.kubeconfig, o.context, "set KUBECONFIG, or compare with a NATS server alone by --nats-url"); err != nil {
			return 0, err
		}
	}
	pool := view.NewPool("millrace-diff")
	defer pool.Close()
	for i := range set.Pipelines {
		file := &side{pipeline: &set.Pipelines[i]}
		for _, s := range set.Stages {
			if s.Spec.PipelineRef.Name == file.pipeline.Name && s.Namespace == file.pipeline.Namespace {
				file.attached = append(file.attached, s)
			}
		}
		file.in(o.namespace)
		r, err := o.compare(ctx, pool, objects, file)
		if err != nil {
			return changes, err
		}
		changes += len(r.Items)
		write := r.write
		if o.output == "json" {
			write = r.writeJSON
		}
		if err := write(out); err != nil {
			return changes, err
		}
	}
	return changes, nil
}

func (o *options) load(ctx context.Context, stdin io.Reader) (*manifest.Set, error) {
	checker, err := manifest.NewChecker()
	if err != nil {
		return nil, err
	}
	checker.JetStreamDomain = o.nats.JetStreamDomain
	set, problems, err := checker.Open(ctx, stdin, o.files)
	switch {
	case err != nil:
		return nil, err
	case len(problems) > 0:
		return nil, fmt.Errorf("%s (%d problems in all: see millrace lint)", problems[0], len(problems))
	case len(set.Pipelines) == 0:
		return nil, errors.New("the manifests hold no Pipeline")
	}
	return set, nil
}

// compare compares one Pipeline.
func (o *options) compare(ctx context.Context, pool *jetstream.Pool, objects client.Client, file *side) (*Result, error) {
	var have *side
	var err error
	refused := ""
	if objects != nil {
		var why error
		if have, why, err = inCluster(ctx, objects, file, o.nats); err != nil {
			return nil, err
		}
		if why != nil {
			refused = why.Error()
		}
	}
	if refused != "" {
		return &Result{Pipeline: file.pipeline.Namespace + "/" + file.pipeline.Name, Items: []Item{{
			What: "pipeline", Name: file.pipeline.Name, Action: Refused, Notes: []string{refused, "undo the change, or make a pipeline of another name"},
		}}}, nil
	}
	if file.plan, err = planOf(file, o.nats); err != nil {
		return nil, err
	}
	nats, err := cli.Connect(pool, o.nats, file.pipeline, "--nats-url and --kubeconfig")
	if err != nil {
		return nil, err
	}
	s, err := gather(ctx, nats, file.plan, o.cluster, o.now())
	if err != nil {
		return nil, err
	}
	r := compare(file.plan, s, o.cluster)
	r.Notes = append(r.Notes, file.plan.Warnings...)
	switch {
	case objects == nil:
		r.Notes = append(r.Notes, "workers are not compared: that takes a cluster (--kubeconfig)")
	case r.refused():
	case have == nil:
		r.Items = append([]Item{{What: "pipeline", Name: file.pipeline.Name, Action: Create}}, r.Items...)
		err = compareWorkers(r, &side{pipeline: file.pipeline, plan: &plan.Plan{}}, file)
	default:
		err = compareWorkers(r, have, file)
	}
	return r, err
}
