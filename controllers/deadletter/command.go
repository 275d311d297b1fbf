package deadletter

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/controllers/view/cli"
	"millrace.dev/millrace/workers/config/usage"
)

// Command is `millrace dlq`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dlq", Short: "Work with dead letters", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Long: `Dlq lists dead letters, shows one with its error, headers and body, publishes them again as a job, and removes them.`,
		Example: `  millrace dlq ls shop
  millrace dlq show shop 42
  millrace dlq replay shop/check --reason rule_failed --rate 100`,
	}
	cmd.AddCommand(listCommand(), showCommand(), replayCommand(), jobsCommand(), cancelCommand(), purgeCommand())
	return cmd
}

// flags are those that the commands share.
type flags struct {
	target       cli.Target
	out          cli.Output
	letters      view.LetterOptions
	since, until string
	now          func() time.Time
}

// with makes a command of a function that is given an open pipeline.
func (f *flags) with(cmd *cobra.Command, choose bool, run func(cmd *cobra.Command, d *dialogue, args []string) error) *cobra.Command {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.begin(cmd); err != nil {
			return err
		}
		d, err := f.open(cmd, args)
		if err != nil {
			return err
		}
		defer d.Close()
		return cli.Wrong(run(cmd, d, args))
	}
	if choose {
		f.choose(cmd)
	}
	f.out.Flags(cmd)
	f.target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

// choose adds the flags that choose dead letters.
func (f *flags) choose(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.letters.Stage, "stage", "", "only those of this stage")
	fs.StringVar(&f.letters.Reason, "reason", "", "only those with this reason, such as rule_failed")
	fs.StringVar(&f.since, "since", "", "only those that were stored since then: a duration before now such as 2h, or a time in RFC 3339")
	fs.StringVar(&f.until, "until", "", "only those that were stored until then")
	fs.StringVar(&f.letters.Filter, "filter", "", "CEL expression of type bool over event; only those whose body is an event for which it is true")
	fs.IntVar(&f.letters.Limit, "limit", 0, "at most so many")
}

func (f *flags) begin(cmd *cobra.Command) error {
	f.now = time.Now
	if err := f.out.Begin(cmd); err != nil {
		return err
	}
	var errs [2]error
	f.letters.Since, errs[0] = view.Ago(f.since, f.now())
	f.letters.Until, errs[1] = view.Ago(f.until, f.now())
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return usage.Error{Err: err}
	}
	if f.letters.Limit < 0 {
		return usage.Error{Err: fmt.Errorf("--limit is %d: want 0 (all) or more", f.letters.Limit)}
	}
	return nil
}

// dialogue is an open pipeline.
type dialogue struct {
	*cli.Opened

	of     view.Name
	editor Editor
}

// open finds the pipeline of PIPELINE or PIPELINE/STAGE.
func (f *flags) open(cmd *cobra.Command, args []string) (*dialogue, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	opened, err := f.target.Open(cmd)
	if err != nil {
		return nil, err
	}
	d := &dialogue{Opened: opened}
	pipeline, stage, _ := strings.Cut(name, "/")
	if d.of, err = d.Find(cmd.Context(), pipeline); err == nil && stage != "" {
		f.letters.Stage = stage
		var l *view.Layout
		if l, err = d.View.Layout(cmd.Context(), d.of); err == nil {
			_, err = l.Stage(stage)
		}
	}
	if err == nil {
		d.editor, err = New(d.Source, time.Now)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func listCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:     "ls PIPELINE[/STAGE]",
		Short:   "List dead letters, the newest first, and count them by stage and reason",
		Example: "  millrace dlq ls shop/check --since 1h\n  millrace dlq ls -f pipeline.yaml --filter \"event.type == 'order.placed'\" -o json",
		Args:    cobra.MaximumNArgs(1),
	}
	f.with(cmd, true, func(cmd *cobra.Command, d *dialogue, _ []string) error {
		page, err := d.View.DeadLetters(cmd.Context(), d.of, f.letters)
		if err != nil {
			return err
		}
		if f.out.JSON() {
			return f.out.Value(page)
		}
		return printPage(&f.out, page)
	})
	cmd.Flags().Uint64Var(&f.letters.Before, "before", 0, "list only those before this sequence of the stream, to turn pages")
	return cmd
}

func printPage(out *cli.Output, page *view.Letters) error {
	if len(page.Groups) == 0 {
		out.Notice("no dead letters")
		return nil
	}
	var rows [][]string
	for _, g := range page.Groups {
		rows = append(rows, []string{g.Stage, g.Reason, strconv.Itoa(g.Count), strconv.Itoa(g.Replayed), cli.When(g.First), cli.When(g.Last)})
	}
	if err := out.Table([]string{"STAGE", "REASON", "COUNT", "REPLAYED", "FIRST", "LAST"}, rows); err != nil {
		return err
	}
	if err := out.Line(""); err != nil {
		return err
	}
	rows = nil
	for i := range page.Letters {
		l := &page.Letters[i]
		replayed := "-"
		if !l.Replayed.IsZero() {
			replayed = cli.When(l.Replayed)
		}
		rows = append(rows, []string{strconv.FormatUint(l.Sequence, 10), cli.When(l.Stored), l.Stage, l.Reason, replayed, cli.Cut(l.EventID, 40), cli.Cut(l.Error, 100)})
	}
	if err := out.Table([]string{"SEQUENCE", "STORED", "STAGE", "REASON", "REPLAYED", "EVENT", "ERROR"}, rows); err != nil {
		return err
	}
	if page.More {
		out.Notice("there are more: --before %d", page.Letters[len(page.Letters)-1].Sequence)
	}
	if page.Partial {
		out.Notice("older dead letters were not counted: there are too many; bound them by --since and --until")
	}
	return nil
}

func showCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:     "show PIPELINE SEQUENCE",
		Short:   "Show one dead letter: its error, headers and body",
		Example: "  millrace dlq show shop 42\n  millrace dlq show shop 42 -f pipeline.yaml -o json | jq -r .body | base64 -d",
		Args:    cobra.ExactArgs(2),
	}
	return f.with(cmd, false, func(cmd *cobra.Command, d *dialogue, args []string) error {
		seq, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return usage.Error{Err: fmt.Errorf("SEQUENCE is %q: want a number, as `millrace dlq ls` lists it", args[1])}
		}
		l, err := d.View.DeadLetter(cmd.Context(), d.of, seq)
		if err != nil {
			return err
		}
		if f.out.JSON() {
			return f.out.Value(l)
		}
		return printLetter(&f.out, l)
	})
}

func printLetter(out *cli.Output, l *view.Letter) error {
	replayed := "never"
	if !l.Replayed.IsZero() {
		replayed = cli.When(l.Replayed)
	}
	for _, line := range [][2]string{
		{"stage", l.Stage},
		{"reason", l.Reason},
		{"error", l.Error},
		{"attempts", strconv.Itoa(l.Attempts)},
		{"event", l.EventID},
		{"stored", cli.When(l.Stored)},
		{"from", fmt.Sprintf("%s, message %d, event %d, stored %s", l.From.Subject, l.From.Sequence, l.From.Index, cli.When(l.From.Stored))},
		{"replayed", replayed},
		{"size", fmt.Sprintf("%d bytes", l.Size)},
	} {
		if err := out.Line("%-10s %s", line[0], cli.Safe(line[1])); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Header)) {
		if err := out.Line("%-10s %s: %s", "header", cli.Safe(name), cli.Safe(strings.Join(l.Header[name], ", "))); err != nil {
			return err
		}
	}
	if l.Truncated {
		out.Notice("the body is not whole, so that the dead letter cannot be replayed")
	}
	body := string(l.Body)
	if !utf8.ValidString(body) {
		body = strconv.QuoteToASCII(body)
	}
	return out.Line("\n%s", cli.Safe(body))
}

func replayCommand() *cobra.Command {
	var f flags
	var o ReplayOptions
	var stream, resume string
	cmd := &cobra.Command{
		Use:   "replay [PIPELINE[/STAGE]] | --stream STREAM --to SUBJECT",
		Short: "Publish dead letters again, as they were received",
		Long: `Publish dead letters again on the ingress: body and headers as they were received, the
ids of the events included. Those that came in at the ingress go to the subject on which they
came, others to <ingress>.replayed, or all to the subject of --to. Nothing is deleted.

A replay is a job: each dead letter is published once, and marked. What was published again before is
passed over, unless --again is given. When the command is killed, --resume goes on with the job.

With --stream no pipeline is known: nothing is marked, and --after goes on.`,
		Example: "  millrace dlq replay shop/check --reason rule_failed --dry-run\n" +
			"  millrace dlq replay -f pipeline.yaml --nats-url nats://nats:4222 --filter \"event.type == 'order.placed'\" --rate 100\n" +
			"  millrace dlq replay --stream DEAD_LETTERS --to events.raw.replayed --limit 100",
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.begin(cmd); err != nil {
				return err
			}
			if err := f.checkReplay(stream, resume, &o, args); err != nil {
				return usage.Error{Err: err}
			}
			if stream != "" {
				return f.plain(cmd, replay{stream: stream, to: o.To, stage: f.letters.Stage, reason: f.letters.Reason, after: o.After, limit: f.letters.Limit, dryRun: o.DryRun})
			}
			d, err := f.open(cmd, args)
			if err != nil {
				return err
			}
			defer d.Close()
			o.LetterOptions = f.letters
			return cli.Wrong(f.replay(cmd.Context(), d, o, resume))
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&stream, "stream", "", "stream of the dead letters, instead of a pipeline")
	fs.StringVar(&o.To, "to", "", "subject to publish on, below the ingress; for all dead letters")
	fs.Uint64Var(&o.After, "after", 0, "only those behind this sequence of the stream")
	fs.Float64Var(&o.Rate, "rate", 0, "publish so many a second (default as fast as it goes)")
	fs.BoolVar(&o.Again, "again", false, "publish those too that were published again before")
	fs.BoolVar(&o.DryRun, "dry-run", false, "count them, and publish nothing")
	fs.StringVar(&resume, "resume", "", "go on with this job, whose process has ended")
	f.choose(cmd)
	f.out.Flags(cmd)
	f.target.Flags(cmd)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage.Error{Err: err} })
	return cmd
}

func (f *flags) checkReplay(stream, resume string, o *ReplayOptions, args []string) error {
	switch {
	case stream == "" && len(args) == 0 && !f.target.Files(), stream != "" && o.To == "":
		return errors.New("give -f with the manifest of the Pipeline, or --stream and --to, or name the PIPELINE of the cluster")
	case stream != "" && (f.target.Files() || len(args) > 0):
		return errors.New("--stream and a pipeline: give one of them")
	case stream != "" && (resume != "" || o.Again || o.Rate > 0 || f.letters.Filter != "" || f.since != "" || f.until != ""):
		return errors.New("--stream goes with --to, --stage, --reason, --after, --limit and --dry-run alone: a job needs the pipeline")
	case resume != "" && o.DryRun:
		return errors.New("--resume and --dry-run: give one of them")
	case strings.ContainsAny(o.To, "*> \t"):
		return fmt.Errorf("--to is %q: want one subject, without wildcards", o.To)
	case o.Rate < 0:
		return fmt.Errorf("--rate is %v: want 0 (as fast as it goes) or more", o.Rate)
	}
	return f.target.Check()
}

// plain replays without a pipeline.
func (f *flags) plain(cmd *cobra.Command, r replay) error {
	c, done, err := f.target.Client()
	if err != nil {
		return err
	}
	defer done()
	return r.tell(cmd.Context(), c, cmd.OutOrStdout())
}

// replay runs a job, and says what came of it.
func (f *flags) replay(ctx context.Context, d *dialogue, o ReplayOptions, resume string) error {
	l, err := d.View.Layout(ctx, d.of)
	if err != nil {
		return err
	}
	id := resume
	if id == "" {
		j, err := d.editor.Start(ctx, d.of, o)
		if err != nil {
			return err
		}
		if o.DryRun {
			return f.told(j, l.DeadLetters)
		}
		id = j.ID
	}
	f.out.Notice("job %s", id)
	said := f.now()
	j, err := d.editor.Run(ctx, d.of, id, func(j *Job) {
		if now := f.now(); now.Sub(said) >= 2*time.Second {
			said = now
			f.out.Notice("%d published, at sequence %d of %d", j.Published, j.Last, j.End)
		}
	})
	if j == nil {
		return err
	}
	if told := f.told(j, l.DeadLetters); err == nil {
		err = told
	}
	if err != nil && j.State == StateRunning {
		return fmt.Errorf("%w; to go on from there: --resume %s", err, id)
	}
	return err
}

// told says what a job did, or would do.
func (f *flags) told(j *Job, stream string) error {
	if f.out.JSON() {
		return f.out.Value(j)
	}
	verb := "published again"
	if j.Options.DryRun {
		verb = "would be published again"
	}
	if err := f.out.Line("%d dead letters of %s %s, up to sequence %d", j.Published, stream, verb, j.Last); err != nil {
		return err
	}
	if j.Before > 0 {
		f.out.Notice("%d were passed over: they were published again before (--again takes them too)", j.Before)
	}
	if j.Truncated > 0 {
		f.out.Notice("%d were passed over: they are not whole (Millrace-Truncated)", j.Truncated)
	}
	if j.State == StateCancelled {
		f.out.Notice("the job was cancelled")
	}
	return nil
}

func jobsCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "jobs PIPELINE", Short: "List the replays of a pipeline, the newest first", Example: "  millrace dlq jobs shop", Args: cobra.MaximumNArgs(1),
	}
	return f.with(cmd, false, func(cmd *cobra.Command, d *dialogue, _ []string) error {
		jobs, err := d.editor.Jobs(cmd.Context(), d.of)
		if err != nil {
			return err
		}
		if f.out.JSON() {
			return f.out.Value(jobs)
		}
		var rows [][]string
		for _, j := range jobs {
			state := j.State
			if j.Stalled {
				state += " (stalled: --resume goes on)"
			}
			rows = append(rows, []string{j.ID, cli.When(j.Started), state, strconv.Itoa(j.Published), fmt.Sprintf("%d of %d", j.Last, j.End)})
		}
		return f.out.Table([]string{"JOB", "STARTED", "STATE", "PUBLISHED", "SEQUENCE"}, rows)
	})
}

func cancelCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "cancel PIPELINE JOB", Short: "End a replay behind its next batch, whoever works on it", Example: "  millrace dlq cancel shop 2xq7t0b4lk", Args: cobra.ExactArgs(2),
	}
	return f.with(cmd, false, func(cmd *cobra.Command, d *dialogue, args []string) error {
		j, err := d.editor.Cancel(cmd.Context(), d.of, args[1])
		if err != nil {
			return err
		}
		if f.out.JSON() {
			return f.out.Value(j)
		}
		return f.out.Line("job %s is %s", j.ID, j.State)
	})
}

func purgeCommand() *cobra.Command {
	var f flags
	var o PurgeOptions
	var yes bool
	cmd := &cobra.Command{
		Use:   "purge PIPELINE[/STAGE]",
		Short: "Remove dead letters from their stream",
		Long: `Purge removes dead letters for good. The last ones of each lane stay: they tell a worker how far it is, and go when newer ones
are stored. It asks first, unless --yes is given.`,
		Example: "  millrace dlq purge shop --replayed --yes\n  millrace dlq purge shop/check --reason rule_failed --until 24h",
		Args:    cobra.MaximumNArgs(1),
	}
	f.with(cmd, true, func(cmd *cobra.Command, d *dialogue, _ []string) error {
		o.LetterOptions = f.letters
		if !yes && !o.DryRun {
			if err := f.ask(cmd, d, o); err != nil {
				return err
			}
		}
		p, err := d.editor.Purge(cmd.Context(), d.of, o)
		if err != nil {
			return err
		}
		if f.out.JSON() {
			return f.out.Value(p)
		}
		verb := "removed"
		if o.DryRun {
			verb = "would be removed"
		}
		if p.Kept > 0 {
			f.out.Notice("%d are kept: they tell workers how far they are", p.Kept)
		}
		return f.out.Line("%d dead letters %s", p.Removed, verb)
	})
	cmd.Flags().BoolVar(&o.Replayed, "replayed", false, "only those that were published again")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "count them, and remove nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// ask asks before a purge.
func (f *flags) ask(cmd *cobra.Command, d *dialogue, o PurgeOptions) error {
	o.DryRun = true
	p, err := d.editor.Purge(cmd.Context(), d.of, o)
	if err != nil {
		return err
	}
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return usage.Error{Err: fmt.Errorf("%d dead letters would be removed for good: give --yes", p.Removed)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Remove %d dead letters of %s for good? [y/N] ", p.Removed, d.of)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing is removed")
	}
	return nil
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
