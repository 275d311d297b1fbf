package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rca:", err)
		os.Exit(1)
	}
}

// evaluation is one conversion, one run and its scores.
type evaluation struct {
	judge, data, out, millrace string
	stdout                     io.Writer
}

func run(ctx context.Context, stdout io.Writer) error {
	v := evaluation{judge: os.Getenv("RCA"), data: os.Getenv("DATA"), out: os.Getenv("OUT"), millrace: os.Getenv("MILLRACE"), stdout: stdout}
	day, scenario := os.Getenv("DAY"), os.Getenv("SCENARIO")
	switch {
	case v.judge == "":
		return errors.New("RCA is not set: the folder with the judge's converters and score.py")
	case v.data == "":
		return errors.New("DATA is not set: the folder, or the .tar.zst, of the data")
	case (day == "") == (scenario == ""):
		return errors.New("set DAY (of Nezha) or SCENARIO (of PetShop)")
	case v.millrace == "":
		return errors.New("MILLRACE is not set: the program to run")
	}
	if v.out == "" {
		made, err := os.MkdirTemp("", "millrace-rca-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(made) }()
		v.out = made
	} else if err := os.MkdirAll(v.out, 0o755); err != nil {
		return err
	}
	if day != "" {
		return v.nezha(ctx, day)
	}
	split := os.Getenv("SPLIT")
	if split == "" {
		split = "train"
	}
	return v.petshop(ctx, scenario, split)
}

func (v *evaluation) nezha(ctx context.Context, day string) error {
	data := v.data
	if strings.HasSuffix(data, ".tar.zst") {
		data = filepath.Join(v.out, "data")
		if err := os.MkdirAll(data, 0o755); err != nil {
			return err
		}
		if err := v.command(ctx, "tar", "--zstd", "-xf", v.data, "-C", data); err != nil {
			return err
		}
	}
	if err := v.command(ctx, "python3", filepath.Join(v.judge, "nezha_convert.py"), "--data", data, "--day", day, "--out", v.out); err != nil {
		return err
	}
	if err := v.pipeline(ctx, "--kubernetes-snapshot", filepath.Join(v.out, "kubernetes.json")); err != nil {
		return err
	}
	return v.score(ctx, 90, 300)
}

func (v *evaluation) petshop(ctx context.Context, scenario, split string) error {
	if err := v.command(ctx, "python3", filepath.Join(v.judge, "petshop_convert.py"), "--scenario", filepath.Join(v.data, scenario), "--split", split, "--out", v.out); err != nil {
		return err
	}
	if err := v.pipeline(ctx); err != nil {
		return err
	}
	return v.score(ctx, 0, 1500, "--lead", "0", "--window", "25", "--guard", "30")
}

// pipeline runs the sample pipeline over the events.
func (v *evaluation) pipeline(ctx context.Context, more ...string) error {
	args := append([]string{
		"run", "-f", "config/samples/observability.yaml", "--input", filepath.Join(v.out, "events.ndjson"), "--until-drained",
		"--output", "correlate/insights=" + filepath.Join(v.out, "correlate.ndjson"), "--output", "analyze/insights=" + filepath.Join(v.out, "analyze.ndjson"),
		"--report", filepath.Join(v.out, "report.json"),
	}, more...)
	cmd := exec.CommandContext(ctx, v.millrace, args...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("millrace %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return nil
}

// score prints the judge's figures, and how well the confidence is calibrated. lead and window are seconds.
func (v *evaluation) score(ctx context.Context, lead, window float64, args ...string) error {
	truth := filepath.Join(v.out, "truth.json")
	correlate, analyze := filepath.Join(v.out, "correlate.ndjson"), filepath.Join(v.out, "analyze.ndjson")
	for _, of := range [][]string{{correlate}, {correlate, analyze}} {
		fmt.Fprintf(v.stdout, "\ninsights of %s\n", strings.Join(bases(of), " and "))
		all := append([]string{filepath.Join(v.judge, "score.py"), "--truth", truth, "-v"}, args...)
		if err := v.command(ctx, "python3", append(append(all, "--insights"), of...)...); err != nil {
			return err
		}
	}
	return calibrate(v.stdout, truth, correlate, lead, window)
}

func bases(paths []string) (names []string) {
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(p), ".ndjson"))
	}
	return names
}

// command runs a program, with what it prints.
func (v *evaluation) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = v.stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
