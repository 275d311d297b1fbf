package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

// fault is one that was injected.
type fault struct {
	Time          time.Time `json:"time"`
	Service       string    `json:"service"`
	WindowSeconds float64   `json:"window_seconds"`
}

// revision is one of an insight.
type revision struct {
	Time time.Time `json:"time"`
	Data struct {
		Insight struct {
			Confidence float64 `json:"confidence"`
			Status     string  `json:"status"`
			RootCause  struct {
				Name string `json:"name"`
			} `json:"rootCause"`
		} `json:"insight"`
	} `json:"data"`
}

// ofPod is the name of a pod of a Deployment.
var ofPod = regexp.MustCompile(`^(.*)-[bcdfghjklmnpqrstvwxz2456789]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$`)

// maxLine is more than an insight takes in JSON.
const maxLine = 1 << 20

// calibrate prints, by the confidence that was stated, how many of the revisions in the time of a fault name its service. That of a fault is from lead
// seconds before it to window seconds after it, or to the next one.
func calibrate(out io.Writer, truth, insights string, lead, window float64) error {
	b, err := os.ReadFile(truth)
	if err != nil {
		return err
	}
	var known struct {
		Faults []fault `json:"faults"`
	}
	if err := json.Unmarshal(b, &known); err != nil {
		return fmt.Errorf("%s: %w", truth, err)
	}
	told, err := revisions(insights)
	if err != nil {
		return err
	}
	var right, all [5]int
	for i, f := range known.Faults {
		from, to := f.Time.Add(-seconds(lead)), f.Time.Add(seconds(window))
		if f.WindowSeconds > 0 {
			to = f.Time.Add(seconds(f.WindowSeconds))
		}
		if i+1 < len(known.Faults) {
			to = earlier(to, later(known.Faults[i+1].Time.Add(-seconds(lead)), f.Time.Add(time.Minute)))
		}
		for _, r := range told {
			in := &r.Data.Insight
			if r.Time.Before(from) || r.Time.After(to) || in.Status == "closed" {
				continue
			}
			bin := min(int(in.Confidence*5), 4)
			all[bin]++
			if ofPod.ReplaceAllString(in.RootCause.Name, "$1") == f.Service {
				right[bin]++
			}
		}
	}
	fmt.Fprintln(out, "\nconfidence   revisions   first is right")
	for i, n := range all {
		if n > 0 {
			fmt.Fprintf(out, "%.1f to %.1f   %9d   %14.2f\n", float64(i)/5, float64(i+1)/5, n, float64(right[i])/float64(n))
		}
	}
	return nil
}

func revisions(path string) (told []revision, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var r revision
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		told = append(told, r)
	}
	return told, lines.Err()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
