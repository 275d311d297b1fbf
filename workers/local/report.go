package local

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Report is what `--report` writes when a run ends.
type Report struct {
	Pipeline string `json:"pipeline"`
	// EventsIn is the number of events of the input that were stored on the ingress, with those that are
	// no events; with --listen, of the events that are still there.
	EventsIn int64 `json:"events_in"`
	// Stages maps the name of a stage to what it did.
	Stages map[string]StageReport `json:"stages"`
	// Insights is the number of different insights; revisions of one count once.
	Insights        int64   `json:"insights"`
	EventsPerSecond float64 `json:"events_per_second"`
	// LatencyP50 and LatencyP99 are milliseconds from the ingress to the acknowledgement by
	// the last stage.
	LatencyP50 float64 `json:"latency_p50_ms"`
	LatencyP99 float64 `json:"latency_p99_ms"`
	// Lost is the number of events that were stored on some port and that a reader of that
	// port did not account for, plus events that a stage says it stored and that are not there.
	Lost int64 `json:"lost"`
	// Duplicated is the number of events that were accounted for, or stored, more than once.
	Duplicated int64 `json:"duplicated"`
	// Backlog is the number of events that were not processed when the run was stopped; they
	// are stored, and a next run on the same --store-dir goes on with them.
	Backlog int64 `json:"backlog"`
	// Past is the time of the stream that the run was about (--from-stream). The latencies are 0 then: the time was that of the events.
	Past    *Span   `json:"past,omitempty"`
	Seconds float64 `json:"seconds"`
	// Ledger says port by port how Lost and Duplicated came about.
	Ledger []LedgerLine `json:"ledger"`
}

// StageReport counts events of one stage.
type StageReport struct {
	In int64 `json:"in"`
	// Out is what left on port out: events that went on, and events that the stage made.
	Out int64 `json:"out"`
	// Emitted are the events of In that went on, on whatever ports; Ports counts what left on ports other than out, by port.
	Emitted    int64            `json:"emitted"`
	Ports      map[string]int64 `json:"ports,omitempty"`
	Produced   map[string]int64 `json:"produced,omitempty"`
	Filtered   int64            `json:"filtered"`
	Duplicates int64            `json:"duplicates"`
	// Kept are the events of In that the stage keeps outside of the pipeline.
	Kept         int64 `json:"kept,omitempty"`
	DeadLettered int64 `json:"dead_lettered"`
	// Reasons splits DeadLettered by reason.
	Reasons    map[string]int64 `json:"dead_letter_reasons,omitempty"`
	Overflowed int64            `json:"overflowed"`
	Retried    int64            `json:"retried"`
	// Late is the number of events that came too late for what the stage had closed by event time:
	// windows of correlate.
	Late int64 `json:"late"`
	// P50 and P99 are milliseconds from an event's storing in the input stream to the
	// acknowledgement, which follows the storing of all it caused.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// LedgerLine compares what should be with what is, in events.
type LedgerLine struct {
	// What is compared: "validate: in" or "validate/out: stored".
	What     string `json:"what"`
	Expected int64  `json:"expected"`
	// Expired: a part of what was stored is there no more, so that the two cannot be compared.
	Expired bool  `json:"expired,omitempty"`
	Actual  int64 `json:"actual"`
}

func (r *Report) addLine(l LedgerLine) {
	r.Ledger = append(r.Ledger, l)
	switch {
	case l.Expired:
	case l.Actual < l.Expected:
		r.Lost += l.Expected - l.Actual
	default:
		r.Duplicated += l.Actual - l.Expected
	}
}

// expired says whether some line of the ledger could not be compared.
func (r *Report) expired() bool {
	return slices.ContainsFunc(r.Ledger, func(l LedgerLine) bool { return l.Expired })
}

// unbalanced names the lines of the ledger where something is missing or too much.
func (r *Report) unbalanced() string {
	var lines []string
	for _, l := range r.Ledger {
		if l.Expected != l.Actual && !l.Expired {
			lines = append(lines, fmt.Sprintf("%s (expected %d, is %d)", l.What, l.Expected, l.Actual))
		}
	}
	return strings.Join(lines, ", ")
}

func (r *Report) write(f *os.File) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
