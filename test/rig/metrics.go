package rig

import (
	"fmt"
	"strconv"
	"strings"
)

// Metrics are the samples that a worker serves on /metrics. A histogram is there as its
// samples name_bucket (with the label le), name_sum and name_count.
type Metrics []Sample

// Sample is one line of /metrics.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Sum adds up the samples of a name that hold labels, which are written name, value, name,
// value.
func (m Metrics) Sum(name string, labels ...string) float64 {
	var sum float64
	for _, s := range m {
		if s.Name == name && s.holds(labels) {
			sum += s.Value
		}
	}
	return sum
}

func (s *Sample) holds(labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if s.Labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// parseMetrics reads the text format of Prometheus, as the workers write it: without times.
func parseMetrics(text string) (Metrics, error) {
	var all Metrics
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseSample(line string) (Sample, error) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 {
		return Sample{}, fmt.Errorf("has no value")
	}
	value, err := strconv.ParseFloat(line[at+1:], 64)
	if err != nil {
		return Sample{}, err
	}
	name, rest, _ := strings.Cut(line[:at], "{")
	s := Sample{Name: name, Labels: map[string]string{}, Value: value}
	for rest != "" && rest != "}" {
		label, quoted, ok := strings.Cut(rest, "=")
		if !ok {
			return Sample{}, fmt.Errorf("labels end early")
		}
		prefix, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return Sample{}, err
		}
		if s.Labels[label], err = strconv.Unquote(prefix); err != nil {
			return Sample{}, err
		}
		rest = strings.TrimPrefix(quoted[len(prefix):], ",")
	}
	return s, nil
}
