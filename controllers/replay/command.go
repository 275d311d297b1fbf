package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/controllers/internal/graph"
	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// options are the flags.
type options struct {
	nats                           config.NATS
	kubeconfig, context, namespace string
	from, to, name                 string
	dryRun, repeatEffects          bool
	out                            cli.Output
	now                            func() time.Time
}

// Command is `millrace replay`.
func Command() *cobra.Command { return CommandAt(time.Now) }

// CommandAt is Command with another clock.
func CommandAt(now func() time.Time) *cobra.Command {
	o := options{now: now}
	cmd := &cobra.Command{
		Use:   "replay PIPELINE/STAGE --from TIME",
		Short: "Have a stage process stored input again, beside the one that runs",
		Long: `Replay has a stage process again what its inputs have stored from a time on. It makes an attached Stage with the same settings and a
name of its own: its events, and its insights, go to streams of their own, which no other stage reads, so nothing is doubled downstream. The
stage that runs is not touched.

--dry-run says how much the replay would read, prints the Stage, and makes nothing. Delete the Stage to stop the replay, also in the middle.`,
		Example: `  millrace replay shop/enrich --from 2h --dry-run
  millrace replay shop/enrich --from 2026-12-01T09:00:00Z --to 2026-12-01T09:30:00Z
  kubectl delete stages.millrace.dev NAME`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.out.Begin(cmd); err != nil {
				return err
			}
			return o.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "when the first input that is processed was stored: a time such as 2026-12-01T09:00:00Z, or how long ago, such as 2h")
	f.StringVar(&o.to, "to", "", "pass by what was stored at this time or later (default: go on with what comes)")
	f.StringVar(&o.name, "name", "", "name of the Stage, which no replay had before (default STAGE-replay-TIME)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say how much the replay would read, print the Stage, and make nothing")
	f.BoolVar(&o.repeatEffects, "repeat-effects", false, "replay a sink or a gather stage, too, which then writes or asks a second time")
	f.StringVarP(&o.namespace, "namespace", "n", "", "namespace of the Pipeline (default that of the context)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default that of KUBECONFIG, or ~/.kube/config)")
	f.StringVar(&o.context, "context", "", "context of the kubeconfig")
	f.StringVar(&o.nats.URL, "nats-url", "", "NATS server, or several separated by commas (default the one that the Pipeline names)")
	connect.Flags(cmd, &o.nats)
	o.out.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// bounds reads the times of the flags.
func (o *options) bounds() (b bounds, err error) {
	if o.from == "" {
		return b, errors.New("replay needs --from: when the first input was stored, such as 2h or 2026-12-01T09:00:00Z")
	}
	now := o.now()
	if b.from, err = view.Ago(o.from, now); err != nil {
		return b, fmt.Errorf("--from: %w", err)
	}
	if b.to, err = view.Ago(o.to, now); err != nil {
		return b, fmt.Errorf("--to: %w", err)
	}
	// A Stage holds whole seconds: what was stored in the first one belongs to it, and so does the last one.
	b.from = b.from.UTC().Truncate(time.Second)
	if up := b.to.UTC().Truncate(time.Second); !b.to.IsZero() {
		if up.Before(b.to) {
			up = up.Add(time.Second)
		}
		b.to = up
	}
	switch {
	case b.from.After(now):
		return b, fmt.Errorf("--from %s is in the future", b.from.Format(time.RFC3339))
	case !b.to.IsZero() && !b.from.Before(b.to):
		return b, fmt.Errorf("--to %s is not later than --from %s", b.to.Format(time.RFC3339), b.from.Format(time.RFC3339))
	}
	return b, nil
}

// target is PIPELINE/STAGE.
func target(arg string) (pipeline, stage string, err error) {
	pipeline, stage, ok := strings.Cut(arg, "/")
	if !ok || pipeline == "" || stage == "" || strings.Contains(stage, "/") {
		return "", "", fmt.Errorf("%q: want PIPELINE/STAGE, and the namespace with -n", arg)
	}
	return pipeline, stage, nil
}

func (o *options) run(ctx context.Context, arg string) error {
	pipeline, stage, err := target(arg)
	if err != nil {
		return usage.Error{Err: err}
	}
	b, err := o.bounds()
	if err == nil {
		err = connect.CheckFlags(o.nats)
	}
	if err != nil {
		return usage.Error{Err: err}
	}
	objects, namespace, err := cli.OpenCluster(o.kubeconfig, o.context, "a replay is a Stage of a cluster: set KUBECONFIG. `millrace run --from-stream` tries a manifest without one")
	if err != nil {
		return err
	}
	if o.namespace != "" {
		namespace = o.namespace
	}
	of := view.Name{Namespace: namespace, Name: pipeline}
	made, err := o.stage(ctx, objects, of, stage, b)
	if err != nil {
		return err
	}
	inputs, err := o.count(ctx, objects, of, stage, b)
	if err != nil {
		return cli.Wrong(err)
	}
	if !o.dryRun {
		if err := objects.Create(ctx, made); err != nil {
			return fmt.Errorf("make the Stage %s: %w", made.Name, err)
		}
	}
	return o.tell(made, inputs, b)
}

// stage is the Stage that is to be made.
func (o *options) stage(ctx context.Context, objects client.Client, of view.Name, stage string, b bounds) (*v1alpha1.Stage, error) {
	var p v1alpha1.Pipeline
	err := objects.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, &p)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("pipeline %s: %w", of, view.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read pipeline %s: %w", of, err)
	}
	stages, err := graph.ListAll(ctx, objects, of.Namespace, of.Name)
	if err != nil {
		return nil, fmt.Errorf("list Stages: %w", err)
	}
	node, err := find(&p, stages.Attached, stage)
	if err != nil {
		return nil, err
	}
	if does := effects(&node); does != "" && !o.repeatEffects {
		return nil, fmt.Errorf("stage %s %s, and a replay does so a second time: give --repeat-effects if you want that", stage, does)
	}
	name := o.name
	if name == "" {
		name = named(stage, o.now())
	}
	return made(of, name, &node, b), nil
}

func (o *options) count(ctx context.Context, objects client.Client, of view.Name, stage string, b bounds) ([]input, error) {
	pool := view.NewPool("millrace-replay")
	defer pool.Close()
	source, err := view.NewCluster(objects, o.nats, func(_ context.Context, p *v1alpha1.Pipeline) (*jetstream.Client, error) {
		return cli.Connect(pool, o.nats, p, "--nats-url")
	})
	if err != nil {
		return nil, err
	}
	layout, nats, err := view.Open(ctx, source, of)
	if err != nil {
		return nil, err
	}
	s, err := layout.Stage(stage)
	if err != nil {
		return nil, err
	}
	return count(ctx, nats, s, b)
}

// tell prints what was made, or would be.
func (o *options) tell(s *v1alpha1.Stage, inputs []input, b bounds) error {
	if o.out.JSON() {
		return o.out.Value(struct {
			Stage  *v1alpha1.Stage `json:"stage"`
			Inputs []input         `json:"inputs"`
			DryRun bool            `json:"dryRun"`
		}{s, inputs, o.dryRun})
	}
	verb := "reads"
	if o.dryRun {
		verb = "would read"
	}
	for _, in := range inputs {
		o.out.Notice("%s %d messages of %s, stream %s, about %s", verb, in.Messages, in.From, in.Stream, cli.Bytes(in.Bytes))
		if in.Oldest.After(b.from) {
			o.out.Notice("  the stream reaches back to %s only", in.Oldest.Format(time.RFC3339))
		}
	}
	if o.dryRun {
		text, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		return o.out.Line("%s", strings.TrimSuffix(string(text), "\n"))
	}
	return o.out.Line("stage %s/%s is made: `millrace top %s` shows it at work, `millrace tap %s/%s --since 1h` what it emits, `kubectl -n %s delete stages.millrace.dev %s` ends it",
		s.Namespace, s.Name, s.Spec.PipelineRef.Name, s.Spec.PipelineRef.Name, s.Name, s.Namespace, s.Name)
}
