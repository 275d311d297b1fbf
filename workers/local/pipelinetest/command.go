package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"millrace.dev/millrace/workers/config/usage"
	"millrace.dev/millrace/workers/local"
)

// options are what the command line says.
type options struct {
	files       []string
	run         string
	junit       string
	output      string
	parallel    int
	secretFiles string
	record      recording
}

// Command is `millrace test`.
func Command(registry local.NewRegistry) *cobra.Command {
	var o options
	var verbose bool
	cmd := &cobra.Command{
		Use:   "test -f FILE_OR_DIR...",
		Short: "Run the tests of pipelines",
		Long: `Test runs pipelines on events and compares what their ports carry with what test files expect. Each test has a
pipeline of its own, on an embedded NATS server and the engine that workers run. The clock is set by the test: a
window of five minutes takes no time.

A test file is NAME.test.yaml; its manifest is NAME.yaml beside it or in the folder above, unless it names another.
In folders, all such files are run, also in the folders below. The exit code is 1 if a test fails.`,
		Example: `  millrace test -f config/samples
  millrace test -f pipeline.test.yaml --run 'dead letters' -o json
  millrace test --record pipeline.test.yaml -f pipeline.yaml --input events.ndjson --advance 5m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelError
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return o.test(cmd.Context(), registry, log, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "test file, or folder of such; may be given again (required)")
	f.StringVar(&o.run, "run", "", "run the tests alone whose FILE: NAME matches this regular expression")
	f.StringVar(&o.junit, "junit", "", "file for the results as JUnit XML")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	f.IntVar(&o.parallel, "parallel", 4, "how many tests run at once")
	f.StringVar(&o.secretFiles, "secret-files", "", "folder with the values of the Secrets that stages name: DIR/NAME/KEY")
	f.StringVar(&o.record.file, "record", "", "write what happens to this test file: of the tests of -f, or of the manifest that -f names and --input")
	f.StringVar(&o.record.input, "input", "", "with --record: file of events for the manifest that -f names")
	f.DurationVar(&o.record.advance, "advance", 0, "with --record and --input: how far the clock moves on behind the events")
	f.BoolVarP(&verbose, "verbose", "v", false, "log what the stages do")
	return cmd
}

func (o *options) check() (*regexp.Regexp, error) {
	pick, err := regexp.Compile(o.run)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--run: %w", err)
	case len(o.files) == 0:
		return nil, errors.New("-f FILE_OR_DIR is required: a test file, or a folder of such")
	case o.output != "text" && o.output != "json":
		return nil, fmt.Errorf("-o %s: want text or json", o.output)
	case o.parallel < 1:
		return nil, fmt.Errorf("--parallel %d: must be at least 1", o.parallel)
	}
	return pick, o.record.check(o)
}

func (o *options) test(ctx context.Context, registry local.NewRegistry, log *slog.Logger, stdout, notices io.Writer) error {
	pick, err := o.check()
	if err != nil {
		return usage.Error{Err: err}
	}
	l, err := newLoader()
	if err != nil {
		return err
	}
	r := &runner{env: l.env, registry: registry, secretFiles: o.secretFiles, log: log}
	if o.record.file != "" {
		return o.record.write(ctx, l, r, o.files, notices)
	}
	files, err := find(o.files)
	if err != nil {
		return usage.Error{Err: err}
	}
	suites, problems, err := l.load(ctx, files)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return errProblems(problems)
	}
	return o.runAll(ctx, r, picked(suites, pick), stdout)
}

// one is a test of a suite.
type one struct {
	suite *Suite
	index int
}

func picked(suites []*Suite, pick *regexp.Regexp) (all []one) {
	for _, s := range suites {
		for i := range s.Tests {
			if pick.MatchString(s.Name + ": " + s.Tests[i].Name) {
				all = append(all, one{s, i})
			}
		}
	}
	return all
}

// runAll runs tests, some at once, and prints what came of them in their order.
func (o *options) runAll(ctx context.Context, r *runner, tests []one, stdout io.Writer) error {
	if len(tests) == 0 {
		return usage.Error{Err: fmt.Errorf("--run %s: no test matches", o.run)}
	}
	results := make([]chan Result, len(tests))
	slots := make(chan struct{}, o.parallel)
	for i, t := range tests {
		results[i] = make(chan Result, 1)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				results[i] <- Result{}
				return
			}
			results[i] <- r.run(ctx, t.suite, t.index)
		}()
	}
	all := make([]Result, len(tests))
	for i := range results {
		all[i] = <-results[i]
		if o.output == "text" && ctx.Err() == nil {
			all[i].print(stdout)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	report := reportOf(all)
	if o.output == "json" {
		if err := report.json(stdout); err != nil {
			return err
		}
	}
	if err := o.writeJUnit(&report); err != nil {
		return err
	}
	if report.Failed > 0 {
		return fmt.Errorf("%d of %d tests failed", report.Failed, len(all))
	}
	if o.output == "text" {
		fmt.Fprintf(stdout, "ok: %d tests passed\n", report.Passed)
	}
	return nil
}

func (o *options) writeJUnit(report *Report) error {
	if o.junit == "" {
		return nil
	}
	var b strings.Builder
	if err := report.junit(&b); err != nil {
		return err
	}
	if err := os.WriteFile(o.junit, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}
