package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nats-io/nats.go"
	"sigs.k8s.io/yaml"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/workers/event"
)

const (
	firstStage = "first"
	// kindStage is the stage that is measured.
	kindStage = "measured"
	// passRow is a stage of which nothing is asked: what a stage costs anyway.
	passRow = "pass"
	// answerSubject is what the rows with gather ask on.
	answerSubject = "bench.answer"
)

// kindRow measures a stage of one kind: it reads what a first stage with one rule has stored.
type kindRow struct {
	name string
	// spec is the stage as a manifest has it, without name and from.
	spec string
	// port is one that the stage has; all of them share a stream. Empty: what the stage has done is counted by its metrics alone.
	port string
	// branches are how many stages there are between the first one and this one, side by side; each hands on every event, all but the first with an
	// attribute of its own. 0 = none.
	branches int
	// asks says that somebody has to answer.
	asks bool
}

// kindRows are the rows of kinds, each beside passRow. `make bench` runs them on the same events as the row pipeline.
func kindRows() []kindRow {
	return []kindRow{
		{name: passRow, port: "out", spec: `validate: {}`},
		{name: "route", port: "rest", spec: `
route:
  rules:
  - {port: errors, expression: event.severity >= 17}
  - {port: network, expression: "event.type == 'network.flow'"}
  - {port: kube, expression: "event.type.startsWith('kubernetes')"}
  default: rest`},
		{name: "transform", port: "out", spec: `
transform:
  steps:
  - set: {field: "attributes.team", expression: "'platform'"}
  - {when: event.severity >= 17, set: {field: "attributes.page", expression: 'true'}}
  - remove: [attributes.http.method]`},
		{name: "experiment", port: "control", spec: `
experiment: {variants: [{name: control, weight: 90}, {name: candidate, weight: 10}]}`},
		{name: "join", port: "out", branches: 2, spec: `join: {deadline: 30s}`},
		{name: "gather", port: "out", asks: true, spec: `
gather: {nats: {subject: ` + answerSubject + `}, timeout: 5s, onIncomplete: Hold}`},
		{name: "gather-lists", port: "out", asks: true, spec: `
gather: {nats: {subject: ` + answerSubject + `}, batch: {maxEvents: 500}, timeout: 5s, onIncomplete: Hold}`},
		{name: "sink-file", spec: `sink: {file: {path: FILE}}`},
	}
}

// stages are those of the pipeline. The first has the rules; a sink writes to file.
func (k kindRow) stages(rules []v1alpha1.ValidateRule, file string) ([]v1alpha1.PipelineStage, error) {
	first := v1alpha1.PipelineStage{Name: firstStage}
	first.From, first.Validate = []string{"ingress"}, &v1alpha1.ValidateSpec{Rules: rules}
	all, from := []v1alpha1.PipelineStage{first}, []string{firstStage}
	if k.branches > 0 {
		from = nil
	}
	for i := range k.branches {
		s := v1alpha1.PipelineStage{Name: fmt.Sprint("branch-", i+1)}
		s.From = []string{firstStage}
		if i == 0 {
			s.Validate = &v1alpha1.ValidateSpec{}
		} else {
			s.Transform = &v1alpha1.TransformSpec{Steps: []v1alpha1.TransformStep{{Set: &v1alpha1.TransformSet{Field: "attributes.of." + s.Name, Expression: "1"}}}}
		}
		all, from = append(all, s), append(from, s.Name)
	}
	last := v1alpha1.PipelineStage{Name: kindStage}
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(k.spec, "FILE", file)), &last.StageNode); err != nil {
		return nil, err
	}
	last.From = from
	return append(all, last), nil
}

// reads is how many events the stage reads for each that is published.
func (k kindRow) reads() int { return max(k.branches, 1) }

// shape runs the pipeline at full load.
func (k kindRow) shape(b *bench) (shape, error) {
	stages, err := k.stages(nil, filepath.Join(b.dir, k.name+".ndjson"))
	if err != nil {
		return shape{}, err
	}
	return shape{
		name: k.name, events: b.full, load: b.fullLoad(), start: k.start, last: []string{kindStage}, read: stages[len(stages)-2].Name,
		reads: k.reads(), settle: k.settle,
		change: func(p *v1alpha1.Pipeline) {
			stages[0].Validate.Rules = p.Spec.Stages[0].Validate.Rules
			p.Spec.Stages = stages
		},
	}, nil
}

func (k kindRow) start(ctx context.Context, t *trial) error {
	if k.asks {
		conn, err := t.rig.Server().Connect()
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, conn.Close)
		if _, err := conn.Subscribe(answerSubject, answer); err != nil {
			return err
		}
		if err := conn.Flush(); err != nil {
			return err
		}
	}
	return startPipeline(ctx, t)
}

// answer answers about one event, or about a list of them, at once. It counts the events of a list and does not parse them.
func answer(m *nats.Msg) {
	const one = `{"attributes":{"score":0.5}}`
	if m.Data[0] != '[' {
		_ = m.Respond([]byte(one))
		return
	}
	n := max(bytes.Count(m.Data, []byte(`"specversion"`)), 1)
	_ = m.Respond([]byte("[" + one + strings.Repeat(","+one, n-1) + "]"))
}

// settle counts each event in what the stage has stored; without a port, in its metrics.
func (k kindRow) settle(ctx context.Context, t *trial, p *publisher, n int, row *Row) error {
	if k.port == "" {
		done, err := t.through(ctx)
		row.Lost, row.Duplicated = max(0, n-int(done-t.before)), max(0, int(done-t.before)-n)
		return err
	}
	seen := make(counts, n)
	err := t.eachEventOf(ctx, p, n, row, t.rig.Output(kindStage, k.port).Stream, func(_ *storedMessage, _ *event.Event, position int) { seen.add(position) })
	seen.fill(row)
	return err
}

// runKinds measures the rows of kinds that were asked for.
func (b *bench) runKinds(ctx context.Context) error {
	var pass float64
	for _, k := range kindRows() {
		if !b.wants(k.name) && (k.name != passRow || !b.wantsKind()) {
			continue
		}
		s, err := k.shape(b)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		row, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		one := k.cost(row)
		if k.name == passRow {
			pass = one.Worker
		}
		one.OfPass = round(one.Worker/pass, 2)
		b.report.Kinds = append(b.report.Kinds, one)
		b.say("%s: %.0f events/s, %.2f us/event", k.name, one.EventsPerSecond, one.Worker)
	}
	return nil
}

func kindNames() []string {
	var names []string
	for _, k := range kindRows() {
		names = append(names, k.name)
	}
	return names
}

// wantsKind says whether any row of kinds was asked for: then passRow is measured, too.
func (b *bench) wantsKind() bool { return slices.ContainsFunc(kindNames(), b.wants) }

// Kind is what a stage of one kind costs.
type Kind struct {
	Name            string  `json:"name"`
	EventsPerSecond float64 `json:"events_per_second"`
	// Worker is CPU microseconds of its worker for each event that the stage reads: a join reads each event once a branch.
	Worker float64 `json:"worker_us_per_event"`
	// OfPass is Worker against that of a stage that hands on every event.
	OfPass float64 `json:"of_pass"`
	// PeakMB is the largest resident size of the worker, in MiB.
	PeakMB     float64 `json:"rss_mb"`
	Events     int     `json:"events"`
	Lost       int     `json:"lost"`
	Duplicated int     `json:"duplicated"`
}

func (k kindRow) cost(row *Row) Kind {
	one := Kind{Name: k.name, EventsPerSecond: row.EventsPerSecond, Events: row.Events, Lost: row.Lost, Duplicated: row.Duplicated}
	for _, p := range row.Processes {
		if p.Name == kindStage {
			one.Worker += p.CPUMicrosPerEvent / float64(k.reads())
			one.PeakMB = max(one.PeakMB, p.PeakMB)
		}
	}
	one.Worker = round(one.Worker, 3)
	return one
}

func printKinds(w io.Writer, kinds []Kind) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "a stage of kind\tevents/s\tworker us/event\tof pass\tworker MiB\tlost\tdoubled\t")
	for i := range kinds {
		k := &kinds[i]
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.0f\t%d\t%d\t\n", k.Name, k.EventsPerSecond, k.Worker, k.OfPass, k.PeakMB, k.Lost, k.Duplicated)
	}
	_ = t.Flush()
	fmt.Fprintln(w)
}
