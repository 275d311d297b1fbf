package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

func main() {
	if err := run(context.Background(), os.Getenv("NAB"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nab:", err)
		os.Exit(1)
	}
}

// The thresholds of the sweep; the stage's own default is among them.
const (
	lowest, highest, step = 2.0, 16.0, 0.5
	standing              = 6.0
)

func run(ctx context.Context, folder string, out io.Writer) error {
	if folder == "" {
		return errors.New("NAB is not set: the folder with data/ and labels/")
	}
	files, missing, err := load(folder)
	if err != nil {
		return err
	}
	rows, windows := 0, 0
	for _, f := range files {
		rows, windows = rows+len(f.values), windows+len(f.windows)
	}
	if windows == 0 {
		return fmt.Errorf("no labelled data in %s", folder)
	}
	fmt.Fprintf(out, "%d files (%d more are labelled but not there), %d rows, %d windows\n\n", len(files), missing, rows, windows)
	var atDefault [3]float64
	var best, bestAt [3]float64
	for threshold := lowest; threshold <= highest; threshold += step {
		scores, err := corpus(ctx, files, windows, threshold)
		if err != nil {
			return err
		}
		for i, s := range scores {
			if threshold == standing {
				atDefault[i] = s
			}
			if threshold == lowest || s > best[i] {
				best[i], bestAt[i] = s, threshold
			}
		}
	}
	fmt.Fprintf(out, "%-20s %18s %22s\n", "profile", "default threshold", "best of the sweep")
	for i, p := range profiles {
		fmt.Fprintf(out, "%-20s %18.1f %15.1f at %3.1f\n", p.name, atDefault[i], best[i], bestAt[i])
	}
	return nil
}

// corpus is the normalised score of each profile over all files.
func corpus(ctx context.Context, files []file, windows int, threshold float64) (scores [3]float64, err error) {
	for _, f := range files {
		found, err := anomalies(ctx, f, threshold)
		if err != nil {
			return scores, fmt.Errorf("%s: %w", f.name, err)
		}
		for i, p := range profiles {
			scores[i] += score(found, f.windows, len(f.values), p)
		}
	}
	for i, p := range profiles {
		scores[i] = normal(scores[i], windows, p)
	}
	return scores, nil
}

// anomalies runs a file through a new stage and returns the rows that it finds unusual.
func anomalies(ctx context.Context, f file, threshold float64) (rows []int, err error) {
	s, err := analyze.NewFactory().New(stage.Settings{
		Config: &config.StageConfig{
			Stage: "analyze", Kind: config.KindAnalyze,
			Analyze: &config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: threshold}},
		},
		Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	b := &stage.Batch{}
	for i, v := range f.values {
		e, err := event.FromProto(&eventv1.Event{
			Id: strconv.Itoa(i), Source: f.name, Type: "metric.sample", TimeUnixNano: uint64(f.times[i].UnixNano()),
			Signal: &eventv1.Event_Metric{Metric: &eventv1.Metric{Name: "value", Value: v}},
		}, event.Origin{Sequence: uint64(i)})
		if err != nil {
			return nil, err
		}
		b.Events, b.Now = append(b.Events[:0], e), f.times[i]
		b.Reset(1)
		if err := s.Process(ctx, b); err != nil {
			return nil, err
		}
		for _, p := range b.Produced() {
			if p.Event.GetType() == analyze.TypeAnomaly {
				rows = append(rows, i)
			}
		}
	}
	return rows, nil
}
