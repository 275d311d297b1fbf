package deadletter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/config/connect"
	"millrace.dev/millrace/workers/config/usage"
)

// Command is `millrace dlq`.
func Command() *cobra.Command {
	cmd := &cobra.Command{Use: "dlq", Short: "Work with dead letters", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(replayCommand())
	return cmd
}

// flags of replay.
type flags struct {
	nats   config.NATS
	files  []string
	replay replay
}

func replayCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "replay (-f FILE | --stream STREAM --to SUBJECT)",
		Short: "Publish dead letters again, as they were received",
		Long: `Publish dead letters again on the ingress: body and headers as they were received, the
ids of the events included. Those that came in at the ingress go to the subject on which they
came, others to <ingress>.replayed, or all to the subject of --to. Nothing is deleted.`,
		Example: "  millrace dlq replay -f pipeline.yaml --nats-url nats://nats:4222 --reason rule_failed --dry-run\n" +
			"  millrace dlq replay --stream DEAD_LETTERS --to events.raw.replayed --limit 100",
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.files, "file", "f", nil, "file or folder with the Pipeline, and its attached Stages, or - for standard input; may be repeated")
	fs.StringVar(&f.replay.stream, "stream", "", "stream of the dead letters, instead of -f")
	fs.StringVar(&f.replay.to, "to", "", "subject to publish on, below the ingress; with -f for all dead letters")
	fs.StringVar(&f.replay.stage, "stage", "", "only those of this stage")
	fs.StringVar(&f.replay.reason, "reason", "", "only those with this reason, such as rule_failed")
	fs.Uint64Var(&f.replay.after, "after", 0, "only those behind this sequence of the stream")
	fs.IntVar(&f.replay.limit, "limit", 0, "at most so many; 0 = all")
	fs.BoolVar(&f.replay.dryRun, "dry-run", false, "count them, and publish nothing")
	fs.StringVar(&f.nats.URL, "nats-url", "nats://127.0.0.1:4222", "NATS server, or several separated by commas")
	connect.Flags(cmd, &f.nats)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

func (f *flags) check() error {
	switch {
	case len(f.files) == 0 && (f.replay.stream == "" || f.replay.to == ""):
		return errors.New("give -f with the manifest of the Pipeline, or --stream and --to")
	case len(f.files) > 0 && f.replay.stream != "":
		return errors.New("-f and --stream: give one of them")
	case strings.ContainsAny(f.replay.to, "*> \t"):
		return fmt.Errorf("--to is %q: want one subject, without wildcards", f.replay.to)
	case f.replay.limit < 0:
		return fmt.Errorf("--limit is %d: want 0 (all) or more", f.replay.limit)
	}
	return connect.CheckFlags(f.nats)
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return usage.Error{Err: err}
	}
	if len(f.files) > 0 {
		plans, err := manifest.Plans(cmd.Context(), cmd.InOrStdin(), f.files, "")
		if err != nil {
			return err
		}
		if len(plans) != 1 {
			return fmt.Errorf("-f holds %d Pipelines, want one: name one file, or give --stream and --to", len(plans))
		}
		f.replay.of(plans[0])
	}
	pool := jetstream.NewPool(jetstream.PoolOptions{Name: "millrace-dlq", Patience: 10 * time.Second, RequestTimeout: 10 * time.Second})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: f.nats.URL, Files: f.nats})
	if err != nil {
		return err
	}
	return f.replay.tell(cmd.Context(), client, cmd.OutOrStdout())
}

// tell replays, and says what came of it.
func (r *replay) tell(ctx context.Context, c *jetstream.Client, out io.Writer) error {
	done, err := r.run(ctx, c)
	verb := "published again"
	if r.dryRun {
		verb = "would be published again"
	}
	fmt.Fprintf(out, "%d dead letters of %s %s, up to sequence %d\n", done.published, r.stream, verb, done.last)
	if done.before > 0 {
		fmt.Fprintf(out, "%d of them are not stored twice: a replay had published them a moment ago\n", done.before)
	}
	if done.cut > 0 {
		fmt.Fprintf(out, "%d were passed over: they are not whole (Millrace-Truncated)\n", done.cut)
	}
	if err != nil && !r.dryRun {
		return fmt.Errorf("%w; to go on from there: --after %d", err, done.last)
	}
	return err
}

// of takes stream and subjects from the plan of a pipeline. An explicit subject is for all dead letters.
func (r *replay) of(p *plan.Plan) {
	for _, s := range p.Stages {
		if out, ok := s.Config.Outputs[config.PortDeadLetter]; ok {
			r.stream = out.Stream
		}
	}
	r.into = p.Ingress.Name
	if r.to != "" {
		return
	}
	r.ingress = strings.TrimSuffix(p.Ingress.Subjects[0], ".>")
	r.to = r.ingress + ".replayed"
}
