package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/stage"
)

// Environment is what a run is given from outside.
type Environment struct {
	Stdin  io.Reader
	Stdout io.Writer // the closing summary
	// Progress takes the progress view; Terminal says whether it may be redrawn.
	Progress io.Writer
	Terminal bool
	Log      *slog.Logger
	Registry stage.Registry
	// StreamTime is as in engine.Options: nil in a run, whose clock is that of the wall.
	StreamTime func(time.Time) time.Time
}

// Run runs the pipeline of o.File until its input is drained, its time is over or ctx
// ends, then drains it, and prints and writes what happened. The error says what failed;
// events that were lost or doubled are a failure too.
func Run(ctx context.Context, o Options, env Environment) error {
	p, err := loadPlan(ctx, o.File)
	if err != nil {
		return err
	}
	o.modelFiles = filepath.Dir(o.File)
	if o.Past.NATS.URL != "" {
		return runOnPast(ctx, o, env, p)
	}
	input, closeInput, err := openInput(o, env.Stdin)
	if err != nil {
		return err
	}
	defer closeInput()
	dir, releaseDir, err := storeDir(o.StoreDir)
	if err != nil {
		return err
	}
	defer releaseDir()
	srv, err := startServer(dir, o.Listen, p.PowerSafe, env.Log)
	if err != nil {
		return err
	}
	if o.Listen != "" {
		fmt.Fprintf(env.Progress, "listening on nats://%s\n", srv.Addr())
	}
	// What ends the run must not end the server before the rest is drained.
	defer stopServer(context.WithoutCancel(ctx), srv)
	return runPipeline(ctx, o, env, p, srv, input)
}

func runPipeline(ctx context.Context, o Options, env Environment, p *plan.Plan, srv *server.Server, input io.Reader) error {
	file, err := createReport(o)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	// A signal while it is being set up is a signal to drain, too.
	r, err := newRunner(context.WithoutCancel(ctx), o, env, p, srv)
	if err != nil {
		return err
	}
	defer r.close()
	if o.Console != "" {
		stop, err := serveConsole(context.WithoutCancel(ctx), o, env, p, srv)
		if err != nil {
			return err
		}
		defer stop()
	}
	failed := r.run(ctx, input)
	var unread inputError // what was read before is processed, and reported
	if failed != nil && !errors.As(failed, &unread) {
		return failed
	}
	report, insights, err := r.settle(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	return errors.Join(failed, tell(env, report, r.order(), insights, file))
}

// runOnPast is Run on what a stream has stored before.
func runOnPast(ctx context.Context, o Options, env Environment, p *plan.Plan) error {
	file, err := createReport(o)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	report, order, insights, err := runPast(ctx, o, env, p)
	if err != nil {
		return err
	}
	return tell(env, report, order, insights, file)
}

// createReport creates the file of --report; nil without one. What cannot be written is told before the input is taken.
func createReport(o Options) (*os.File, error) {
	if o.Report == "" {
		return nil, nil
	}
	file, err := os.Create(o.Report)
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	return file, nil
}

// tell prints and writes what happened. Events that were lost or doubled are an error.
func tell(env Environment, report *Report, order []string, insights []*eventv1.Event, file *os.File) error {
	printSummary(env.Stdout, report, order, insights)
	if file != nil {
		if err := report.write(file); err != nil {
			return err
		}
	}
	if report.Lost > 0 || report.Duplicated > 0 {
		return fmt.Errorf("the ledger does not balance: %d events lost, %d doubled: %s", report.Lost, report.Duplicated, report.unbalanced())
	}
	return nil
}

// loadPlan reads the manifest as `millrace lint` does and plans it.
func loadPlan(ctx context.Context, file string) (*plan.Plan, error) {
	set, problems, err := manifest.Load(ctx, file)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		lines := make([]string, len(problems))
		for i, p := range problems {
			lines[i] = p.String()
		}
		return nil, fmt.Errorf("the manifest is not valid:\n%s", strings.Join(lines, "\n"))
	}
	if n := len(set.Pipelines); n != 1 {
		return nil, fmt.Errorf("%s holds %d Pipelines: run takes one", file, n)
	}
	return set.Plans[0], nil
}

func openInput(o Options, stdin io.Reader) (io.Reader, func(), error) {
	switch o.Input {
	case "":
		return nil, func() {}, nil
	case "-":
		return stdin, func() {}, nil
	}
	f, err := os.Open(o.Input)
	if err != nil {
		return nil, nil, fmt.Errorf("--input: %w", err)
	}
	return f, func() { _ = f.Close() }, nil
}

// run feeds the input and lets the stages work until the end that the options ask for.
func (r *runner) run(ctx context.Context, input io.Reader) error {
	// The engines end last: they go on while what is stored is drained.
	stages, stopStages := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStages()
	group, stages := errgroup.WithContext(stages)
	r.start(stages, group)

	view, stopView := context.WithCancel(stages)
	drawn := make(chan struct{})
	go func() { defer close(drawn); r.progress().run(view) }()
	defer func() { stopView(); <-drawn }()

	feed, stopFeed := r.feedContext(ctx)
	defer stopFeed()
	fed := make(chan error, 1)
	go func() { fed <- r.feed(feed, input) }()

	failed := make(chan error, 1)
	go func() { failed <- group.Wait() }()
	var err error
	select {
	case err = <-fed:
	case err = <-failed:
		return err
	}
	var unread inputError
	switch {
	case errors.As(err, &unread):
	case err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		err = nil
	}
	drained := r.drain(stages)
	stopStages()
	// A stage that failed ended the others and the drain with it: its error is the one to tell.
	return cmp.Or(<-failed, drained, err)
}

// feedContext ends with ctx or, with --for, when the time is over.
func (r *runner) feedContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.opts.For > 0 {
		return context.WithTimeout(ctx, r.opts.For)
	}
	return context.WithCancel(ctx)
}

// feed publishes the input. Without one, or with --for, it goes on until ctx ends.
func (r *runner) feed(ctx context.Context, input io.Reader) error {
	if input != nil {
		if err := r.feeder.feed(ctx, input); err != nil {
			return err
		}
	}
	if r.opts.UntilDrained {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
