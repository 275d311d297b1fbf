package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness/kube"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
	"millrace.dev/millrace/test/rig"
)

// sample is the manifest, from the root of the module.
const sample = "config/samples/observability.yaml"

// The stages of the sample.
const (
	validateStage  = "validate"
	enrichStage    = "enrich"
	correlateStage = "correlate"
	analyzeStage   = "analyze"
)

// options of a run.
type options struct {
	rows              []string
	events            int
	lead              int
	jsonEvents        int
	seconds           time.Duration
	steadyRate        int
	steadyFor         time.Duration
	out, dir, profile string
	keep, powerSafe   bool
	// cost asks for the second table, and repeat says how often each of its rows is measured.
	cost     bool
	repeat   int
	progress io.Writer
}

const (
	perFrame       = 500
	steadyPerFrame = 100
)

// bench is a run of some rows.
type bench struct {
	options
	binary, self, manifest, snapshot string
	// full are the events of the rows at full load, steady those of steady-20k.
	full, steady, warmUp *events
	report               *Report
}

// shape is what makes a row.
type shape struct {
	name string
	// events are published as load says.
	events *events
	load   load
	// start starts the workers, or what takes their place, and says who reads last.
	start func(ctx context.Context, t *trial) error
	// change makes another pipeline of the sample; nil keeps it.
	change func(*v1alpha1.Pipeline)
	// last are the stages that read last, and what they read is the output of the stage read.
	last []string
	read string
	// reads is how many events the last stages read for each that is published; 0 = 1.
	reads int
	// settle counts the events of the run in what is stored.
	settle func(ctx context.Context, t *trial, p *publisher, n int, row *Row) error
	// chained has all stages run in the workers of the first one, and store nothing in between.
	chained bool
	// polled has acknowledgements polled, not listened to.
	polled bool
}

func (b *bench) fullLoad() load {
	return load{messages: &b.full.frames, perMessage: perFrame, lead: b.lead, atMost: b.seconds, events: b.events}
}

func (b *bench) shapes() []shape {
	full := b.fullLoad()
	single := load{messages: &b.full.lines, perMessage: 1, lead: b.lead / 10, atMost: b.seconds, events: b.jsonEvents}
	all := []shape{
		{name: "baseline", events: b.full, load: single, start: startBaseline, polled: true},
		{name: "pipeline", events: b.full, load: full, start: startPipeline},
		{name: "without-runs", events: b.full, load: full, start: startPipeline, change: withoutRuns},
		{name: "all-on", events: b.full, load: full, start: startPipeline, change: allOn},
		{name: "pipeline-json", events: b.full, load: single, start: startPipeline},
		{name: "chained", events: b.full, load: full, start: startPipeline, change: chain, chained: true},
		{name: "ceiling", events: b.full, load: full, start: startCeiling},
	}
	if b.steady != nil {
		all = append(all, shape{name: "steady-20k", events: b.steady, start: startPipeline, load: load{
			messages: &b.steady.frames, perMessage: steadyPerFrame, rate: float64(b.steadyRate),
			events: b.steadyEvents(),
		}})
	}
	for i := range all {
		all[i].last, all[i].read, all[i].settle = []string{correlateStage, analyzeStage}, enrichStage, settleSample
	}
	return all
}

// prepare builds the binary and makes the events.
func (b *bench) prepare(ctx context.Context) error {
	b.say("building millrace")
	root, err := kube.ModuleRoot()
	if err != nil {
		return err
	}
	b.manifest = filepath.Join(root, filepath.FromSlash(sample))
	if b.binary, err = rig.Build(ctx, b.dir); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.say("making %d events", b.events)
	jsonEvents := 0
	if b.wants("baseline") || b.wants("pipeline-json") {
		jsonEvents = b.jsonEvents
	}
	if b.full, err = makeEvents(b.events, jsonEvents, perFrame); err != nil {
		return err
	}
	if b.wants("steady-20k") {
		if b.steady, err = makeEvents(b.steadyEvents(), 0, steadyPerFrame); err != nil {
			return err
		}
	}
	if b.warmUp, err = makeStory(warmUpSeed, warmUpEvents, true, perFrame); err != nil {
		return err
	}
	b.snapshot = filepath.Join(b.dir, "cluster.json")
	return os.WriteFile(b.snapshot, b.full.snapshot, 0o600)
}

func (b *bench) steadyEvents() int { return int(b.steadyFor.Seconds() * float64(b.steadyRate)) }

func (b *bench) wants(row string) bool {
	for _, name := range b.rows {
		if name == row {
			return true
		}
	}
	return false
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// run measures all rows that were asked for.
func (b *bench) run(ctx context.Context) error {
	for _, s := range b.shapes() {
		if !b.wants(s.name) {
			continue
		}
		b.say("%s", s.name)
		row, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		b.report.Rows = append(b.report.Rows, *row)
		b.say("%s: %.0f events/s", s.name, row.EventsPerSecond)
	}
	return b.runKinds(ctx)
}

// trial is one row while it is measured.
type trial struct {
	*bench
	shape
	rig  *rig.Rig
	acks *acks
	// profiles is the port where the server serves its profiles; 0 = none.
	profiles int
	// lastStream is the stream that the last stages read, and filters are the filter subjects
	// of their consumers, by name.
	lastStream string
	filters    map[string]string
	// perAck is the number of events in one message of lastStream; 0 = it varies, and the
	// workers are asked how far they are.
	perAck int
	// before are the events that the warm-up left in the counts.
	before int64
}

// measure runs one row from nothing to its figures.
func (b *bench) measure(ctx context.Context, s shape) (row *Row, err error) {
	t := &trial{bench: b, shape: s, acks: newAcks()}
	dir := filepath.Join(b.dir, s.name)
	o := rig.Options{
		Manifest: b.manifest, Binary: b.binary, Dir: dir,
		WorkerArgs: []string{"--kubernetes-snapshot", b.snapshot}, Change: s.change,
		NATS: natsserver.Options{MaxPayload: 8 << 20, SyncAlways: b.powerSafe},
	}
	if b.profile != "" {
		if t.profiles, err = process.FreePort(); err != nil {
			return nil, err
		}
		o.NATS.Config = fmt.Sprintf("prof_port: %d\n", t.profiles)
		o.WorkerArgs = append(o.WorkerArgs, "--pprof")
	}
	// What an earlier run kept would be read as events of this one.
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	if t.rig, err = rig.Start(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.rig.Logs(b.progress, 2000)
		}
		err = errors.Join(err, t.rig.Close())
		if !b.keep {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	b.report.Machine.NATS = t.rig.Conn().ConnectedServerVersion()
	if err := t.start(ctx, t); err != nil {
		return nil, err
	}
	return t.measure(ctx)
}

func (t *trial) measure(ctx context.Context) (row *Row, err error) {
	if err := t.warm(ctx); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	stopWatching, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stopWatching()) }()
	window := frameWindow
	if t.load.perMessage == 1 {
		window = jsonWindow
	}
	conn, err := t.rig.Server().Connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	p, err := newPublisher(conn, ingressSubject, window)
	if err != nil {
		return nil, err
	}
	meter, err := t.meter(ctx)
	if err != nil {
		return nil, err
	}
	progress, stopProgress := context.WithCancel(ctx)
	defer stopProgress()
	follow := make(chan error, 1)
	go func() { follow <- t.follow(progress, p) }()
	profiled := t.startProfiles(ctx)

	began := time.Now()
	n, err := p.run(ctx, t.load)
	if err != nil {
		return nil, err
	}
	if err := t.awaitEnd(ctx, p, int64(n)); err != nil {
		return nil, err
	}
	used, err := meter.read(ctx)
	if err != nil {
		return nil, err
	}
	stopProgress()
	if err := errors.Join(<-follow, profiled()); err != nil {
		return nil, err
	}
	return t.row(ctx, p, n, began, used)
}

const ingressSubject = "events.raw.bench"

var discard = slog.New(slog.DiscardHandler)
