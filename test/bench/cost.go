package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/event"
)

// costShapes are the groups of the second table: stages and partitions of each row. The rows of
// a group are compared with its first; a row that is in two groups is measured for both at once.
func costShapes() [][]equalStages {
	return [][]equalStages{
		{{2, 8}, {4, 8}, {6, 8}},
		{{4, 1}, {4, 2}, {4, 4}, {4, 8}},
	}
}

// costNames are the names of all rows, each once.
func costNames() []string {
	var names []string
	for _, c := range slices.Concat(costShapes()...) {
		if !slices.Contains(names, c.name()) {
			names = append(names, c.name())
		}
	}
	return names
}

// equalStages is a pipeline of stages that do the same, one after the other.
type equalStages struct{ stages, partitions int }

func (c equalStages) name() string { return fmt.Sprintf("%dx%d", c.stages, c.partitions) }

// stage is the name of a stage, counted from 1.
func (equalStages) stage(i int) string { return "stage-" + strconv.Itoa(i) }

// change makes the pipeline of the sample: each stage has the sample's rule, hands on every event as
// it is, and runs in a worker process of its own; the first reads the ingress. A rule is little
// work, so what a stage costs is nearly all decode, encode, store and deliver, which is what
// stages and partitions add to; more logic would hide that.
func (c equalStages) change(p *v1alpha1.Pipeline) {
	rules := p.Spec.Stages[0].Validate.Rules
	p.Spec.Partitions = int32(c.partitions)
	p.Spec.Stages = nil
	from := "ingress"
	for i := range c.stages {
		s := v1alpha1.PipelineStage{Name: c.stage(i + 1)}
		s.From = []string{from}
		s.Validate = &v1alpha1.ValidateSpec{Rules: rules}
		p.Spec.Stages = append(p.Spec.Stages, s)
		from = s.Name
	}
}

// shape runs the pipeline at full load.
func (c equalStages) shape(b *bench) shape {
	return shape{
		name: c.name(), events: b.full, load: b.fullLoad(), start: startPipeline, change: c.change,
		last: []string{c.stage(c.stages)}, read: c.stage(c.stages - 1), settle: settleLast,
	}
}

// settleLast counts each event in what the last stage has stored.
func settleLast(ctx context.Context, t *trial, p *publisher, n int, row *Row) error {
	seen := make(counts, n)
	err := t.eachEvent(ctx, p, n, row, t.last[0], func(_ *storedMessage, _ *event.Event, position int) { seen.add(position) })
	seen.fill(row)
	return err
}

// runCosts measures the rows that were asked for, writes their figures and prints the table.
func (b *bench) runCosts(ctx context.Context) error {
	groups := costShapes()
	for i := range groups {
		groups[i] = slices.DeleteFunc(groups[i], func(c equalStages) bool { return !b.wants(c.name()) })
	}
	report, err := b.costs(ctx, groups)
	if err != nil {
		return err
	}
	if err := report.write(b.out); err != nil {
		return err
	}
	report.print(os.Stdout)
	return nil
}

// costs measures all rows of groups as often as was asked for. It repeats all of them, not each: what else
// the machine does comes and goes, and so it does not hit one row alone.
func (b *bench) costs(ctx context.Context, groups [][]equalStages) (*CostReport, error) {
	runs := map[equalStages][]Cost{}
	for range b.repeat {
		measured := map[equalStages]bool{}
		for _, c := range slices.Concat(groups...) {
			if measured[c] {
				continue
			}
			measured[c] = true
			row, err := b.measure(ctx, c.shape(b))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name(), err)
			}
			one := c.cost(row)
			b.say("%s: %.0f events/s, %.2f us/event/stage", c.name(), one.EventsPerSecond, one.PerStage)
			runs[c] = append(runs[c], one)
		}
	}
	report := &CostReport{Machine: b.report.Machine}
	for i, group := range groups {
		var first float64
		for k, c := range group {
			one := median(runs[c])
			if k == 0 {
				first = one.PerStage
			}
			one.Group, one.Change = i+1, round((one.PerStage/first-1)*100, 1)
			report.Rows = append(report.Rows, one)
		}
	}
	return report, nil
}

// CostReport is dist/bench-cost.json.
type CostReport struct {
	Rows    []Cost  `json:"rows"`
	Machine Machine `json:"machine"`
}

// Cost is a row of the second table: the run with the median CPU per event and stage. Times are
// CPU microseconds per event.
type Cost struct {
	// Group is 1 for the first.
	Group           int     `json:"group"`
	Stages          int     `json:"stages"`
	Partitions      int     `json:"partitions"`
	EventsPerSecond float64 `json:"events_per_second"`
	// All is of all processes, the publisher too.
	All     float64 `json:"cpu_us_per_event"`
	Server  float64 `json:"server_us_per_event"`
	Workers float64 `json:"workers_us_per_event"`
	// PerStage is Server and Workers together, divided by Stages.
	PerStage float64 `json:"us_per_event_per_stage"`
	// Change is PerStage against that of the first row of the group, in percent.
	Change float64 `json:"change_percent"`
	// Runs holds PerStage of every run, in their order.
	Runs []float64 `json:"runs_us_per_event_per_stage"`
	// Lost and Duplicated are of all runs.
	Lost       int       `json:"lost"`
	Duplicated int       `json:"duplicated"`
	Events     int       `json:"events"`
	Processes  []Process `json:"processes"`
	// Streams say how large the messages were.
	Streams map[string]Stream `json:"streams"`
}

func (c equalStages) cost(row *Row) Cost {
	one := Cost{
		Stages: c.stages, Partitions: c.partitions, EventsPerSecond: row.EventsPerSecond, All: row.CPUMicrosPerEvent,
		Lost: row.Lost, Duplicated: row.Duplicated, Events: row.Events, Processes: row.Processes, Streams: row.Streams,
	}
	for _, p := range row.Processes {
		switch p.Name {
		case publisherName:
		case serverName:
			one.Server = p.CPUMicrosPerEvent
		default:
			one.Workers += p.CPUMicrosPerEvent
		}
	}
	one.Workers = round(one.Workers, 3)
	one.PerStage = round((one.Server+one.Workers)/float64(c.stages), 3)
	return one
}

// median is the run with the median cost; of an even number, the cheaper one in the middle.
func median(runs []Cost) Cost {
	sorted := slices.SortedFunc(slices.Values(runs), func(x, y Cost) int { return cmp.Compare(x.PerStage, y.PerStage) })
	one := sorted[(len(sorted)-1)/2]
	one.Lost, one.Duplicated = 0, 0
	for i := range runs {
		one.Lost += runs[i].Lost
		one.Duplicated += runs[i].Duplicated
		one.Runs = append(one.Runs, runs[i].PerStage)
	}
	return one
}

func (r *CostReport) write(file string) error { return writeJSON(file, r) }

// print prints the table for people.
func (r *CostReport) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "stages\tpartitions\tevents/s\tcpu us/event\tserver\tworkers\tus/event/stage\tchange\truns\tlost\tdoubled\t")
	for i := range r.Rows {
		c := &r.Rows[i]
		if i > 0 && c.Group != r.Rows[i-1].Group {
			fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t\t")
		}
		fmt.Fprintf(t, "%d\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%+.0f %%\t%.2f-%.2f\t%d\t%d\t\n", c.Stages, c.Partitions, c.EventsPerSecond,
			c.All, c.Server, c.Workers, c.PerStage, c.Change, slices.Min(c.Runs), slices.Max(c.Runs), c.Lost, c.Duplicated)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	r.Machine.print(w)
}
