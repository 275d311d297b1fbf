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

// The thresholds of the sweep.
const lowest, highest, step = 0.5, 16.0, 0.25

// standing are thresholds that nobody chose by this corpus; byDefault is that of a stage that sets none.
var standing = []float64{3, 4, 5, 6, 8}

const byDefault = 5

// figures are the scores of each profile.
type figures [3]float64

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
	scores := map[float64]figures{}
	for threshold := lowest; threshold <= highest; threshold += step {
		if scores[threshold], err = corpus(ctx, files, windows, threshold); err != nil {
			return err
		}
	}
	printScores(out, scores)
	alarms, flat := falseAlarms(standing, 1)
	printAlarms(out, standing, alarms, flat)
	return errors.Join(promisedScores(len(files), windows, scores), promisedAlarms(alarms))
}

// best is the best score of each profile, and at which threshold it is.
func best(scores map[float64]figures) (best, at figures) {
	for threshold := lowest; threshold <= highest; threshold += step {
		for i, s := range scores[threshold] {
			if threshold == lowest || s > best[i] {
				best[i], at[i] = s, threshold
			}
		}
	}
	return best, at
}

func printScores(out io.Writer, scores map[float64]figures) {
	fmt.Fprintf(out, "%-10s", "threshold")
	for _, p := range profiles {
		fmt.Fprintf(out, " %19s", p.name)
	}
	fmt.Fprintln(out)
	for _, threshold := range standing {
		fmt.Fprintf(out, "%-10g", threshold)
		for _, s := range scores[threshold] {
			fmt.Fprintf(out, " %19.1f", s)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%-10s", "swept")
	swept, at := best(scores)
	for i := range profiles {
		fmt.Fprintf(out, " %19s", fmt.Sprintf("%.1f (at %g)", swept[i], at[i]))
	}
	fmt.Fprintln(out)
}

// promises are the least scores on a corpus of so many files and windows.
var promises = []struct {
	files, windows int
	threshold      float64
	standard       float64 // at the threshold
	swept          figures
}{
	{25, 39, 4, 62, figures{72, 63, 77}},
	{58, 116, byDefault, 66, figures{70, 65, 73}},
}

// promisedScores fails when a score of a known corpus is below what is promised of it.
func promisedScores(files, windows int, scores map[float64]figures) (err error) {
	for _, p := range promises {
		if p.files != files || p.windows != windows {
			continue
		}
		if got := scores[p.threshold][0]; got < p.standard {
			err = errors.Join(err, fmt.Errorf("standard at threshold %g: %.1f, promised is %g", p.threshold, got, p.standard))
		}
		swept, _ := best(scores)
		for i, want := range p.swept {
			if swept[i] < want {
				err = errors.Join(err, fmt.Errorf("%s, swept: %.1f, promised is %g", profiles[i].name, swept[i], want))
			}
		}
	}
	return err
}

// promisedAlarms fails when there are more false alarms at the default threshold than are promised: two in the first month of a series, one
// in each later one.
func promisedAlarms(rows []row) error {
	for i, threshold := range standing {
		if r := rows[i]; threshold == byDefault && (r.first > 2 || r.later > 1) {
			return fmt.Errorf("false alarms at threshold %g: %.2f in the first month and %.2f in each later one, promised are 2 and 1", threshold, r.first, r.later)
		}
	}
	return nil
}

// corpus is the normalised score of each profile over all files.
func corpus(ctx context.Context, files []file, windows int, threshold float64) (scores figures, err error) {
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
			Analyze: &config.Analyze{Anomaly: &config.AnalyzeAnomaly{Threshold: &threshold}},
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
