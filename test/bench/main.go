package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

var rowNames = [...]string{"baseline", "pipeline", "without-runs", "all-on", "pipeline-json", "chained", "ceiling", "steady-20k"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case baselineProgram:
			return runBaseline(ctx, args[1:])
		case hopProgram:
			return runHop(ctx, args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "millrace-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // best effort
		o.dir = dir
	}
	b := &bench{options: o, report: &Report{Machine: machine()}}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.report.Machine.Date = time.Now().UTC().Format(time.RFC3339)
	if o.cost {
		return b.runCosts(ctx)
	}
	if err := b.run(ctx); err != nil {
		return err
	}
	b.report.fillRatios()
	if err := b.report.write(o.out); err != nil {
		return err
	}
	b.report.print(os.Stdout)
	return nil
}

func parse(args []string) (options, error) {
	o := options{progress: os.Stderr}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	rows := f.String("rows", "", "rows to measure, with commas between; default: all of the table")
	f.BoolVar(&o.cost, "cost", false, "measure what a stage costs, by the number of stages and of partitions, and not the other table; its rows are "+strings.Join(costNames(), ", "))
	f.IntVar(&o.repeat, "repeat", 1, "times to measure each row of -cost; the run with the median is told")
	f.IntVar(&o.events, "events", 3_000_000, "events to publish at most, for rows with frames; a multiple of 100000, or of 1000 if less")
	f.IntVar(&o.jsonEvents, "json-events", 500_000, "events to publish at most, for rows with one event a message")
	f.IntVar(&o.lead, "lead", 400_000, "events that may be published and not through yet, at full load; a tenth of it for rows with one event a message")
	f.DurationVar(&o.seconds, "seconds", 15*time.Second, "time to publish at most, for rows at full load; such as 15s")
	f.IntVar(&o.steadyRate, "steady-rate", 20_000, "events per second of steady-20k")
	f.DurationVar(&o.steadyFor, "steady-seconds", 20*time.Second, "time to publish for steady-20k")
	f.StringVar(&o.out, "out", "", "file for the figures; default: dist/bench.json, with -cost dist/bench-cost.json")
	f.StringVar(&o.dir, "dir", "", "folder for stores and logs; default: a temporary one")
	f.BoolVar(&o.keep, "keep", false, "keep stores and logs in -dir")
	f.BoolVar(&o.powerSafe, "power-safe", false, "have the server sync each message to disk before it confirms it (sync_interval: always)")
	f.StringVar(&o.profile, "profile", "", "folder for profiles of server and workers: CPU over 5 s of each row, then the heap")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	all, out := append(rowNames[:], kindNames()...), "dist/bench.json"
	if o.cost {
		all, out = costNames(), "dist/bench-cost.json"
	}
	o.out = cmp.Or(o.out, out)
	o.rows = all
	if *rows != "" {
		o.rows = strings.Split(*rows, ",")
	}
	for _, name := range o.rows {
		if !slices.Contains(all, name) {
			return o, fmt.Errorf("-rows: there is no row %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	if o.repeat < 1 {
		return o, fmt.Errorf("-repeat: %d times is not possible", o.repeat)
	}
	if o.profile != "" {
		return o, os.MkdirAll(o.profile, 0o755)
	}
	return o, nil
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }
