package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/view"
	"millrace.dev/millrace/test/rig"
)

const sample = "config/samples/observability.yaml"

func main() {
	rate := flag.Int("rate", 20_000, "events a second")
	phase := flag.Duration("seconds", 30*time.Second, "how long a phase is measured")
	child := flag.Int("watchers", 0, "be so many watchers of --url until standard input ends")
	url := flag.String("url", "", "NATS server of the watchers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := func() error { return bench(ctx, *rate, *phase) }
	if *child > 0 {
		run = func() error { return watch(ctx, *url, *child) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// watch is so many watchers of the sample.
func watch(ctx context.Context, url string, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the parent closes it
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	plans, err := manifest.Plans(ctx, nil, []string{sample}, "")
	if err != nil {
		return err
	}
	source := view.NewPlans(view.Server{URL: url}, plans...)
	defer source.Close()
	v, err := view.New(source, time.Now)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			shown := false
			err := v.Flow(ctx, view.Name{Namespace: plans[0].Namespace, Name: plans[0].Name}, func(f *view.Flow) error {
				if len(f.Problems) > 0 {
					return fmt.Errorf("a reading has problems: %v", f.Problems)
				}
				if !shown && i == 0 {
					fmt.Println("ready")
				}
				shown = true
				return nil
			})
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

func bench(ctx context.Context, rate int, phase time.Duration) error {
	dir, err := os.MkdirTemp("", "millrace-bench-watch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := rig.Build(ctx, dir)
	if err != nil {
		return err
	}
	r, err := rig.Start(ctx, rig.Options{Manifest: sample, Dir: dir, Binary: binary})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := r.StartAll(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { return feed(ctx, r, rate) })
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d events/s, phases of %s, load %s\n", rate, phase, strings.TrimSpace(string(load)))
	fmt.Printf("%-12s %16s %16s %16s %16s\n", "watchers", "busiest worker", "all workers", "nats-server", "watchers")
	if err := wait(ctx, phase/3); err != nil { // a warm-up
		return err
	}
	for _, n := range []int{0, 1, 10, 0} {
		if err := measure(ctx, r, n, phase); err != nil {
			return err
		}
	}
	cancel()
	return g.Wait()
}

// measure prints the CPU of one phase, in per cent of a core.
func measure(ctx context.Context, r *rig.Rig, watchers int, phase time.Duration) error {
	pids := []int{r.Server().Pid()}
	for _, w := range r.Running("") {
		pids = append(pids, w.Pid())
	}
	if watchers > 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, self, "-watchers", strconv.Itoa(watchers), "-url", r.URL())
		cmd.Stderr = os.Stderr
		stop, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer cmd.Wait() //nolint:errcheck // it is asked to end
		defer func() { _ = stop.Close() }()
		if _, err := out.Read(make([]byte, 8)); err != nil { // to plan the sample is no part of watching
			return fmt.Errorf("the watchers have ended: %w", err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	before, err := usage(pids)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := wait(ctx, phase); err != nil {
		return err
	}
	after, err := usage(pids)
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	share := func(i int) float64 { return 100 * (after[i] - before[i]) / took }
	var busiest, all float64
	workers := len(r.Running(""))
	for i := 1; i <= workers; i++ {
		busiest, all = max(busiest, share(i)), all+share(i)
	}
	seen := "-"
	if watchers > 0 {
		seen = fmt.Sprintf("%.2f %%", share(workers+1))
	}
	fmt.Printf("%-12d %14.1f %% %14.1f %% %14.1f %% %16s\n", watchers, busiest, all, share(0), seen)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// perMessage is how many events the publisher puts into a message, as NDJSON.
const perMessage = 100

// feed publishes at a rate until ctx ends.
func feed(ctx context.Context, r *rig.Rig, rate int) error {
	began := time.Now()
	for i := 0; ; i++ {
		if due := began.Add(time.Duration(i) * perMessage * time.Second / time.Duration(rate)); wait(ctx, time.Until(due)) != nil {
			return nil //nolint:nilerr // that is the end
		}
		var b strings.Builder
		for k := range perMessage {
			fmt.Fprintf(&b, `{"id":"%d-%d","source":"bench","type":"demo.hello","time":"2026-01-01T00:00:00Z","body":"some text of an event that is watched"}`+"\n", i, k)
		}
		if _, err := r.JetStream().PublishAsync("events.raw.bench", []byte(b.String())); err != nil {
			return err
		}
	}
}
