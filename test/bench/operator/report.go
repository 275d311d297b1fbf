package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Report is dist/bench-operator.json. Times are in seconds.
type Report struct {
	Pipelines int    `json:"pipelines"`
	Stages    int    `json:"stages"`
	CPUs      int    `json:"cpus"`
	Go        string `json:"go"`
	Date      string `json:"date"`

	EmptySeconds float64 `json:"empty_seconds"`
	// EmptyCPU is the CPU time of each process until everything was made, by name.
	EmptyCPU map[string]float64 `json:"empty_cpu_seconds"`
	// EmptyRequests are those of the operator, by verb and resource; JetStream's by verb.
	EmptyRequests map[string]int `json:"empty_requests"`
	Streams       int            `json:"streams"`
	Consumers     int            `json:"consumers"`

	IdleSeconds  float64        `json:"idle_seconds"`
	IdlePercent  float64        `json:"idle_percent_of_a_core"`
	IdleRequests map[string]int `json:"idle_requests"`
	PeakMiB      float64        `json:"operator_peak_mib"`

	RestartSeconds    float64        `json:"restart_seconds"`
	RestartCPU        float64        `json:"restart_cpu_seconds"`
	RestartReconciles int            `json:"restart_reconciles"`
	RestartRequests   map[string]int `json:"restart_requests"`

	RepairSeconds map[string]float64 `json:"repair_seconds"`

	// Seconds until one more pipeline is made: alone, at the same time as -mute others, and as
	// -mute others whose servers are mute.
	ReadyAloneSeconds       float64 `json:"ready_alone_seconds"`
	ReadyBesideSoundSeconds float64 `json:"ready_beside_sound_seconds"`
	ReadyBesideMuteSeconds  float64 `json:"ready_beside_mute_seconds"`
}

func (r *Report) print(out io.Writer) {
	fmt.Fprintf(out, "%d pipelines, %d stages, %d streams, %d consumers; %d CPUs, %s, %s\n",
		r.Pipelines, r.Stages, r.Streams, r.Consumers, r.CPUs, r.Go, r.Date)
	fmt.Fprintf(out, "from empty        %6.1f s    CPU %s\n", r.EmptySeconds, seconds(r.EmptyCPU))
	fmt.Fprintf(out, "                  requests: %s\n", counts(r.EmptyRequests))
	fmt.Fprintf(out, "idle for %3.0f s    %6.2f %% of a core, %d writes; requests: %s; at most %.0f MiB\n",
		r.IdleSeconds, r.IdlePercent, writes(r.IdleRequests), counts(r.IdleRequests), r.PeakMiB)
	fmt.Fprintf(out, "restarted         %6.1f s    %.1f s of CPU for %d reconciles, %d writes; requests: %s\n",
		r.RestartSeconds, r.RestartCPU, r.RestartReconciles, writes(r.RestartRequests), counts(r.RestartRequests))
	for _, what := range slices.Sorted(maps.Keys(r.RepairSeconds)) {
		fmt.Fprintf(out, "%-11s back  %6.2f s\n", what, r.RepairSeconds[what])
	}
	fmt.Fprintf(out, "a new pipeline    %6.2f s, at the same time as others %.2f s, as others on mute servers %.2f s\n",
		r.ReadyAloneSeconds, r.ReadyBesideSoundSeconds, r.ReadyBesideMuteSeconds)
}

// verdict is an error when a promise of docs/operator.md is broken that does not hang on how
// busy the machine is.
func (r *Report) verdict() error {
	var errs []error
	if n := writes(r.IdleRequests); n > 0 {
		errs = append(errs, fmt.Errorf("the idle operator wrote %d times", n))
	}
	if n := writes(r.RestartRequests); n > 0 {
		errs = append(errs, fmt.Errorf("a look at unchanged objects wrote %d times", n))
	}
	return errors.Join(errs...)
}

// writes counts the requests that change something.
func writes(requests map[string]int) int {
	n := 0
	for what, count := range requests {
		if !strings.HasPrefix(what, "GET ") && !strings.HasPrefix(what, "WATCH ") && !strings.HasPrefix(what, "JetStream read") {
			n += count
		}
	}
	return n
}

func counts(m map[string]int) string {
	parts := make([]string, 0, len(m))
	for _, what := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, m[what]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func seconds(m map[string]float64) string {
	parts := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %.1f s", name, m[name]))
	}
	return strings.Join(parts, ", ")
}

// since is what was counted after an earlier count.
func since(now, before map[string]int) map[string]int {
	m := map[string]int{}
	for what, n := range now {
		if n -= before[what]; n != 0 {
			m[what] = n
		}
	}
	return m
}
