package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is dist/bench.json.
type Report struct {
	Rows []Row `json:"rows"`
	// Kinds says what a stage of each kind costs beside one that does nothing.
	Kinds []Kind `json:"kinds,omitempty"`
	// Ratios are of events per second; those with "cpu" are of CPU per event, which says more
	// when the machine was not quiet.
	Ratios  map[string]float64 `json:"ratios"`
	Machine Machine            `json:"machine"`
}

// Row is one row of the table. Latencies are in milliseconds.
type Row struct {
	Name              string  `json:"name"`
	EventsPerSecond   float64 `json:"events_per_second"`
	CPUMicrosPerEvent float64 `json:"cpu_us_per_event"`
	P50               float64 `json:"p50_ms"`
	P99               float64 `json:"p99_ms"`
	P999              float64 `json:"p999_ms"`
	// PeakMB is the highest resident size of any worker, in MiB.
	PeakMB            float64 `json:"rss_mb"`
	DiskBytesPerEvent float64 `json:"bytes_per_event_on_disk"`
	// AllocsPerEvent is the mean over the stages.
	AllocsPerEvent float64 `json:"allocs_per_event"`
	Lost           int     `json:"lost"`
	Duplicated     int     `json:"duplicated"`

	Events  int     `json:"events"`
	Seconds float64 `json:"seconds"`
	// FoundInCluster is the share of events that the kubernetes enricher found.
	FoundInCluster float64           `json:"found_in_cluster"`
	Processes      []Process         `json:"processes"`
	Streams        map[string]Stream `json:"streams"`
}

// Process is what one process used.
type Process struct {
	Name              string  `json:"name"`
	CPUMicrosPerEvent float64 `json:"cpu_us_per_event"`
	PeakMB            float64 `json:"rss_mb"`
	AllocsPerEvent    float64 `json:"allocs_per_event,omitempty"`
}

// Stream is what one stream holds.
type Stream struct {
	Messages      uint64  `json:"messages"`
	BytesPerEvent float64 `json:"bytes_per_event"`
	// StoredP50 and StoredP99 are milliseconds from before the publish of an event until it was
	// stored here; for the streams of validate and enrich alone.
	StoredP50 float64 `json:"stored_p50_ms,omitempty"`
	StoredP99 float64 `json:"stored_p99_ms,omitempty"`
}

// Machine is what the figures were measured on.
type Machine struct {
	CPUs  int    `json:"cpus"`
	Model string `json:"model,omitempty"`
	Go    string `json:"go"`
	NATS  string `json:"nats"`
	Date  string `json:"date"`
	// LoadBefore is the load average of the last minute when the run began.
	LoadBefore string `json:"load_before,omitempty"`
}

func machine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.LoadBefore, _, _ = strings.Cut(string(data), " ")
	}
	return m
}

// fillRatios compares the rows that are there.
func (r *Report) fillRatios() {
	r.Ratios = map[string]float64{}
	rates, cpu := map[string]float64{}, map[string]float64{}
	for i := range r.Rows {
		rates[r.Rows[i].Name], cpu[r.Rows[i].Name] = r.Rows[i].EventsPerSecond, r.Rows[i].CPUMicrosPerEvent
	}
	for _, pair := range [][2]string{
		{"pipeline", "baseline"}, {"pipeline-json", "baseline"}, {"chained", "baseline"}, {"pipeline", "ceiling"}, {"chained", "pipeline"}, {"pipeline", "without-runs"}, {"all-on", "pipeline"},
	} {
		if a, b := rates[pair[0]], rates[pair[1]]; a > 0 && b > 0 {
			r.Ratios[pair[0]+"/"+pair[1]] = round(a/b, 2)
			r.Ratios["cpu "+pair[1]+"/"+pair[0]] = round(cpu[pair[1]]/cpu[pair[0]], 2)
		}
	}
}

// write writes the report as JSON.
func (r *Report) write(file string) error { return writeJSON(file, r) }

func writeJSON(file string, report any) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// print prints the table for people.
func (r *Report) print(w io.Writer) {
	if len(r.Rows) > 0 {
		r.printRows(w)
	}
	if len(r.Kinds) > 0 {
		printKinds(w, r.Kinds)
	}
	r.Machine.print(w)
}

func (r *Report) printRows(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tevents/s\tcpu us/event\tp50 ms\tp99 ms\tp99.9 ms\tworker MiB\tdisk B/event\tallocs/event\tlost\tdoubled\t")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.2f\t%d\t%d\t\n", row.Name, row.EventsPerSecond, row.CPUMicrosPerEvent,
			row.P50, row.P99, row.P999, row.PeakMB, row.DiskBytesPerEvent, row.AllocsPerEvent, row.Lost, row.Duplicated)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "CPU us/event of\tpublisher\tnats-server\tvalidate\tenrich\tcorrelate\tanalyze\t")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(t, "%s\t", row.Name)
		for _, p := range row.Processes {
			fmt.Fprintf(t, "%.2f\t", p.CPUMicrosPerEvent)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	for _, name := range sortedKeys(r.Ratios) {
		fmt.Fprintf(w, "%s: %.2f\n", name, r.Ratios[name])
	}
	fmt.Fprintln(w)
}

func (m *Machine) print(w io.Writer) {
	fmt.Fprintf(w, "%d CPUs (%s), %s, nats-server %s, load before %s, %s\n", m.CPUs, m.Model, m.Go, m.NATS, m.LoadBefore, m.Date)
}
