package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

type options struct {
	pipelines, stages, mute, concurrency, controllersQPS int
	idle                                                 time.Duration
	out, profile                                         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == childProgram {
		return runChild(ctx, args[1:])
	}
	o := options{}
	f := flag.NewFlagSet("bench-operator", flag.ContinueOnError)
	f.IntVar(&o.pipelines, "pipelines", 200, "Pipelines to create")
	f.IntVar(&o.stages, "stages", 5, "stages of each, 1 to 5")
	f.IntVar(&o.mute, "mute", 20, "Pipelines on a NATS server that answers nothing")
	f.IntVar(&o.concurrency, "concurrency", 0, "--concurrency of the operator; 0: its default")
	f.IntVar(&o.controllersQPS, "controllers-qps", 20, "requests per second of the controllers of Kubernetes, which make the pods; 20 is their default, and more leave the operator alone sooner")
	f.DurationVar(&o.idle, "idle", time.Minute, "how long to watch the idle operator")
	f.StringVar(&o.out, "out", "dist/bench-operator.json", "file for the figures")
	f.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the operator in the phases empty and idle")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.pipelines < 1 || o.stages < 1 || o.stages > len(kinds()) {
		return fmt.Errorf("-pipelines %d -stages %d: at least 1, and 1 to %d", o.pipelines, o.stages, len(kinds()))
	}
	w, err := startWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.stop()
	report := Report{
		Pipelines: o.pipelines, Stages: o.pipelines * o.stages, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Date: time.Now().UTC().Format(time.RFC3339),
	}
	for _, phase := range []func(context.Context, *Report) error{w.empty, w.quiet, w.idle, w.restart, w.repair, w.muted} {
		if err := phase(ctx, &report); err != nil {
			return err
		}
	}
	report.print(os.Stdout)
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(o.out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return report.verdict()
}
