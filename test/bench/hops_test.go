package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/manifest"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/workers/analyze"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/correlate"
	"millrace.dev/millrace/workers/enrich"
	enrichkubernetes "millrace.dev/millrace/workers/enrich/kubernetes"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/validate"
)

// keep is where BenchmarkHops leaves the frames of each stream as STREAM-N.frame, for test/bench/rivals.
var keep = flag.String("frames", "", "folder to keep the frames of BenchmarkHops in")

// BenchmarkHops takes the events of a run through decode, logic and encode of every stage, in one
// goroutine and without a server: what an event costs apart from its transport. It is packed as
// the engine packs it at full load.
func BenchmarkHops(b *testing.B) {
	const n = 2 * storyEvents
	all, err := makeEvents(n, 0, perFrame)
	if err != nil {
		b.Fatal(err)
	}
	h := newHops(b, all)
	h.run(b) // warms caches and pools
	h.spent, h.bytes = map[string]time.Duration{}, map[string]int{}
	for b.Loop() {
		h.run(b)
	}
	b.ReportMetric(0, "ns/op")
	var sum time.Duration
	for _, name := range h.order {
		sum += h.spent[name]
		b.ReportMetric(float64(h.spent[name].Nanoseconds())/float64(b.N*n), name+"-ns/event")
	}
	for name, bytes := range h.bytes {
		b.ReportMetric(float64(bytes)/float64(b.N*n), name+"-B/event")
	}
	b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N*n), "cpu-ns/event")
}

// hops are the stages of the sample and what is measured of them.
type hops struct {
	plan   *plan.Plan
	events *events
	open   enrich.Open
	spent  map[string]time.Duration
	bytes  map[string]int
	order  []string
	last   time.Duration
	// What lives as long as a worker, by stage.
	decoders map[string][]*decode.Decoder
	writers  map[string][]frame.Writer
	enrich   stage.Stage
}

func newHops(b *testing.B, all *events) *hops {
	b.Helper()
	set, problems, err := manifest.Load(b.Context(), "../../config/samples/observability.yaml")
	if err != nil || len(problems) > 0 {
		b.Fatal(err, problems)
	}
	p, refused := plan.Compute(plan.Input{Pipeline: &set.Pipelines[0], DefaultNATSURL: "nats://127.0.0.1"})
	if len(refused) > 0 {
		b.Fatal(refused)
	}
	snapshot := filepath.Join(b.TempDir(), "snapshot.json")
	if err := os.WriteFile(snapshot, all.snapshot, 0o600); err != nil {
		b.Fatal(err)
	}
	return &hops{
		plan: p, events: all, open: enrichkubernetes.Choice{Snapshot: snapshot}.Open,
		spent: map[string]time.Duration{}, bytes: map[string]int{},
		decoders: map[string][]*decode.Decoder{}, writers: map[string][]frame.Writer{},
	}
}

func (h *hops) config(name string) *config.StageConfig {
	for i := range h.plan.Stages {
		s := &h.plan.Stages[i]
		if s.Config.Stage == name {
			return &s.Config
		}
	}
	panic("no stage " + name)
}

func (h *hops) start(b *testing.B, name string, lanes int) stage.Stage {
	b.Helper()
	registry := stage.NewRegistry(validate.NewFactory(), enrich.NewFactory(h.open), correlate.NewFactory(), analyze.NewFactory())
	c := h.config(name)
	f, err := registry.Factory(c.Kind)
	if err != nil {
		b.Fatal(err)
	}
	return startStage(b, f, c, lanes)
}

// spend notes the CPU time since the last call under a name.
func (h *hops) spend(name string) {
	now := cpuTime()
	if name != "" {
		if _, known := h.spent[name]; !known && !slices.Contains(h.order, name) {
			h.order = append(h.order, name)
		}
		h.spent[name] += now - h.last
	}
	h.last = now
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (h *hops) run(b *testing.B) {
	ingress := make([]storedFrame, h.events.frames.len())
	began := time.Date(2026, 1, 1, 0, 10, 0, 0, time.UTC)
	for i := range ingress {
		ingress[i] = storedFrame{data: h.events.frames.at(i), stored: began.Add(time.Duration(i*perFrame) * 6 * time.Millisecond)}
	}
	h.count(b, "raw", ingress)
	validated := h.hop(b, "validate", ingress, 1)
	h.count(b, "validated", validated)
	enriched := h.hop(b, "enrich", validated, h.config("enrich").Partitions)
	h.count(b, "enriched", enriched)
	h.hop(b, "correlate", enriched, 1)
	h.hop(b, "analyze", enriched, h.config("analyze").Partitions)
}

// count notes how large the frames of a stream are, and keeps them if asked to.
func (h *hops) count(b *testing.B, name string, frames []storedFrame) {
	b.Helper()
	for i := range frames {
		h.bytes[name] += len(frames[i].data)
		if *keep == "" {
			continue
		}
		path := filepath.Join(*keep, fmt.Sprintf("%s-%04d.frame", name, i))
		if err := os.WriteFile(path, frames[i].data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// hop takes frames through one stage.
func (h *hops) hop(b *testing.B, name string, in []storedFrame, lanes int) (out []storedFrame) {
	c := h.config(name)
	stages := make([]stage.Stage, lanes)
	if name == "enrich" { // keeps no state but its cache
		if h.enrich == nil {
			h.enrich = h.start(b, name, lanes)
		}
		stages = slices.Repeat([]stage.Stage{h.enrich}, lanes)
	}
	if h.decoders[name] == nil {
		h.decoders[name], h.writers[name] = make([]*decode.Decoder, lanes), make([]frame.Writer, c.Partitions)
	}
	decoders, writers := h.decoders[name], h.writers[name]
	for i := range stages {
		if stages[i] == nil {
			stages[i] = h.start(b, name, lanes)
		}
		if decoders[i] == nil {
			decoders[i] = decode.New(decode.Limits{Hints: name != "validate", Lift: name == "validate"})
			decoders[i].Remember(event.NewContexts(32 << 20 / lanes))
		}
	}
	for i := range writers {
		writers[i].Hints = true
		writers[i].Begin(frame.Header{InputStream: c.Inputs[0].Stream})
	}
	var batch stage.Batch
	var now time.Time
	flush := func(p int) {
		out = append(out, storedFrame{lane: p, stored: now, data: writers[p].AppendTo(nil)})
		writers[p].Begin(frame.Header{InputStream: c.Inputs[0].Stream})
	}
	h.spend("")
	for _, f := range in {
		lane := f.lane % lanes
		now = f.stored
		decodeFrame(b, decoders[lane], f, &batch)
		h.spend(name + "-decode")
		if err := stages[lane].Process(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
		h.spend(name + "-logic")
		for i := range batch.Events {
			if batch.Decision(i).Verdict != stage.Emit || name == "correlate" || name == "analyze" {
				continue
			}
			e := &batch.Events[i]
			p := f.lane
			if lanes == 1 {
				p = e.PartitionOf(c.Partitions)
			}
			w := &writers[p]
			if w.Len() >= c.Batch.MaxEvents || w.Len() > 0 && w.Size()+e.Size() > c.Batch.MaxBytes {
				flush(p)
			}
			w.Add(e)
		}
		h.spend(name + "-encode")
	}
	for p := range writers {
		if writers[p].Len() > 0 {
			flush(p)
		}
	}
	h.spend(name + "-encode")
	for _, s := range stages {
		if name == "enrich" {
			break
		}
		if err := s.Shutdown(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	slices.SortStableFunc(out, func(a, b storedFrame) int { return cmp.Compare(a.stored.UnixNano(), b.stored.UnixNano()) })
	if len(out) > 0 && testing.Verbose() {
		fmt.Printf("%s: %d frames\n", name, len(out))
	}
	return out
}
