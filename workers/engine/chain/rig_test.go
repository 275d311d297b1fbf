package chain_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	eventframe "millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// fake is a stage that does what a test says.
type fake struct {
	process func(*stage.Batch) error
	flush   func(now time.Time, final bool, b *stage.Batch) error
	horizon time.Duration
	marked  bool
}

func (fake) Start(context.Context) error    { return nil }
func (fake) Shutdown(context.Context) error { return nil }
func (f fake) Horizon() time.Duration       { return f.horizon }
func (f fake) OnlyMarked() bool             { return f.marked }

func (f fake) Process(_ context.Context, b *stage.Batch) error {
	if f.process == nil {
		return nil
	}
	return f.process(b)
}

// flushing is a fake that is flushed.
type flushing struct{ fake }

func (f flushing) Flush(_ context.Context, now time.Time, final bool, b *stage.Batch) error {
	return f.flush(now, final, b)
}

func (f fake) stage() stage.Stage {
	if f.flush != nil {
		return flushing{f}
	}
	return f
}

// rig is a chain of fakes. Each stage has the ports out (frames), insights (CloudEvents), raw, and dead-letter; a chained one, or one
// that has others behind it, may lack out.
type rig struct {
	t        testing.TB
	limits   chain.Limits
	graph    *chain.Graph
	stateful bool
	inputs   []chain.Input
	lane     int
	lanes    int
	// repartition is that of the outputs.
	repartition bool
	payload     int64
	suspects    chain.Suspects
	stages      []stage.Stage
	stopped     func() bool
	log         bytes.Buffer
	calls       calls
	problems    []string
	aborted     error
	chain       *chain.Chain
	step        *chain.Step
	outlets     []*chain.Outlet
}

// calls counts observations.
type calls struct{ atomic.Int64 }

func (c *calls) Observe(float64) { c.Add(1) }

// outputs are the ports of a stage.
func outputs(name string) map[string]config.Output {
	return map[string]config.Output{
		config.PortOut:        {Stream: "OUT", Subject: name + ".out", Format: config.FormatFrame},
		"late":                {Stream: "LATE", Subject: name + ".late", Format: config.FormatFrame},
		"raw":                 {Stream: "RAW", Subject: name + ".raw", Format: config.FormatRaw},
		config.PortInsights:   {Stream: "INSIGHTS", Subject: name + ".insights", Format: config.FormatCloudEvent},
		config.PortDeadLetter: {Stream: "DEAD", Subject: name + ".dead", Format: config.FormatRaw},
	}
}

// late and raw are the ports of that name.
const (
	late stage.Ports = 1 << 3
	raw  stage.Ports = 1 << 4
)

// newRig makes a chain of stages, each of which reads the one before.
func newRig(t testing.TB, stages ...fake) *rig {
	t.Helper()
	r := &rig{
		t: t, inputs: []chain.Input{{From: "ingress", Stream: "IN"}, {From: "other/out", Stream: "IN2"}}, lanes: 1,
		limits: chain.Limits{MaxEvents: 100, MaxBytes: 1 << 20, Attempts: 3, Backoff: time.Second, MaxBackoff: 10 * time.Second},
	}
	for _, s := range stages {
		r.stages = append(r.stages, s.stage())
	}
	return r
}

// open makes the chain, for another session if there was one.
func (r *rig) open(doubt *progress.Doubt) *rig {
	r.t.Helper()
	if r.graph == nil {
		nodes := make([]*chain.Node, len(r.stages))
		for i := range nodes {
			c := &config.StageConfig{Stage: string(rune('a' + i)), Partitions: max(r.lanes, 2), Outputs: outputs(string(rune('a' + i)))}
			for port, out := range c.Outputs {
				out.Repartition = r.repartition && out.Format == config.FormatFrame
				c.Outputs[port] = out
			}
			nodes[i] = chain.NewNode(c, r.limits, r.stateful, &r.calls)
			if i > 0 {
				nodes[i-1].Chain(nodes[i], i)
			}
		}
		r.graph = chain.NewGraph(nodes)
	}
	r.aborted = nil
	r.chain = chain.New(&chain.Options{
		Graph: r.graph, Inputs: r.inputs, Lane: r.lane, Lanes: r.lanes, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Now: time.Now, Jitter: func() float64 { return 0 },
		Pause: func(ctx context.Context, d time.Duration) bool {
			select {
			case <-time.After(d):
				return !r.isStopped()
			case <-ctx.Done():
				return false
			}
		},
		Stopped: r.isStopped, Abort: func(err error) { r.aborted = err }, Problem: func(p string) { r.problems = append(r.problems, p) },
		Panics: &chain.Throttle{Every: time.Second}, Suspects: &r.suspects, HeaderRoom: 512, CallTimeout: time.Minute, MaxPayload: r.payload,
	})
	r.outlets = r.chain.NewOutlets()
	r.chain.Open(r.stages, doubt, make([]uint64, len(r.inputs)))
	r.step = chain.NewStep(len(r.stages))
	return r
}

func (r *rig) isStopped() bool { return r.stopped != nil && r.stopped() }

// add puts messages into the step. Each is stored a millisecond after the one before.
func (r *rig) add(messages ...chain.Message) *rig {
	for _, m := range messages {
		n := len(r.step.Messages)
		if m.Sequence == 0 {
			m.Sequence = uint64(n + 1)
		}
		if m.Time == 0 {
			m.Time = began.Add(time.Duration(n) * time.Millisecond).UnixNano()
		}
		m.Stream = r.inputs[m.Input].Stream
		if h := m.Header["Content-Type"]; len(h) == 1 && h[0] == event.ContentTypeFrame {
			r.step.Frames++
		}
		r.step.Messages = append(r.step.Messages, m)
	}
	return r
}

// take takes messages through the chain, and returns what is to be stored.
func (r *rig) take(messages ...chain.Message) []string {
	r.t.Helper()
	if r.chain == nil {
		r.open(nil)
	}
	r.add(messages...)
	got, ok := r.run(func(ctx context.Context) bool { return r.chain.Take(ctx, r.step) })
	if !ok {
		r.t.Fatal("the chain did not go on")
	}
	return got
}

// run does work with the step, and returns what is to be stored.
func (r *rig) run(work func(context.Context) bool) (got []string, ok bool) {
	r.t.Helper()
	ctx, end := r.chain.Start(r.t.Context())
	through := make(chan struct{})
	ok = work(ctx) && r.chain.Through(ctx, r.step, func() bool { close(through); return true })
	if ok {
		<-through
	}
	end()
	if !ok {
		return nil, false
	}
	for _, p := range r.step.Pending {
		for _, o := range p.Outputs {
			if o.IsFrame() {
				r.chain.Encode(o, nil)
			}
			got = append(got, r.line(o))
		}
	}
	return got, true
}

// line is an output in short: subject, ids, reason.
func (r *rig) line(o *chain.Output) string {
	r.t.Helper()
	line := o.Subject + ":"
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: o.Header, Data: o.Data})
	for i := range events {
		line += " " + events[i].ID
	}
	for range bad {
		line += " ?"
	}
	if reason := o.Header["Millrace-Reason"]; reason != nil {
		line += " " + reason[0]
		if n := o.Header["Millrace-Attempts"]; n[0] != "1" {
			line += " after " + n[0]
		}
	}
	return line
}

func (r *rig) want(got []string, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("outputs differ (-want +got):\n%s\nlog: %s", diff, r.log.String())
	}
}

func (r *rig) wantTally(node int, want chain.Tally) {
	r.t.Helper()
	got := r.step.Tallies[node]
	for _, counts := range []*[]chain.Count{&got.Reasons, &got.Produced, &got.Skips, &got.Ports} {
		if len(*counts) == 0 {
			*counts = nil
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("tally of stage %d differs (-want +got):\n%s", node, diff)
	}
}

func (r *rig) wantLog(text string) {
	r.t.Helper()
	if !strings.Contains(r.log.String(), text) {
		r.t.Errorf("the log lacks %q:\n%s", text, r.log.String())
	}
}

// began is when the first message was stored.
var began = time.Unix(1_700_000_000, 0)

func eventJSON(id string) string {
	return fmt.Sprintf(`{"id":%q,"source":"test","type":"test.made","partitionkey":"k","body":"hello"}`, id)
}

// loose is a message of one event.
func loose(id string) chain.Message {
	return chain.Message{Subject: "in.raw", Message: decode.Message{Data: []byte(eventJSON(id))}}
}

// looses are several.
func looses(ids ...string) (all []chain.Message) {
	for _, id := range ids {
		all = append(all, loose(id))
	}
	return all
}

// framed is a message of several events.
func framed(t testing.TB, lines ...string) chain.Message {
	t.Helper()
	d := decode.New(decode.Limits{})
	events, bad := d.Decode(nil, decode.Message{Header: map[string][]string{"Content-Type": {event.ContentTypeNDJSON}}, Data: []byte(strings.Join(lines, "\n"))})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	var w eventframe.Writer
	w.Begin(eventframe.Header{})
	for i := range events {
		w.Add(&events[i])
	}
	h := map[string][]string{"Content-Type": {event.ContentTypeFrame}}
	if marks := w.Marks(); marks != "" {
		h[eventframe.HeaderMarked] = []string{marks}
	}
	return chain.Message{Subject: "in.frames.0", Message: decode.Message{Header: h, Data: w.AppendTo(nil)}}
}

// frame is a message of events with these ids.
func frame(t testing.TB, ids ...string) chain.Message {
	t.Helper()
	var lines []string
	for _, id := range ids {
		lines = append(lines, eventJSON(id))
	}
	return framed(t, lines...)
}

// ids are the ids of a batch.
func ids(b *stage.Batch) (all []string) {
	for i := range b.Events {
		all = append(all, strings.Clone(b.Events[i].ID))
	}
	return all
}

// on calls do with each event that has one of these ids.
func on(do func(b *stage.Batch, i int), which ...string) func(*stage.Batch) error {
	return func(b *stage.Batch) error {
		for i, id := range ids(b) {
			if slices.Contains(which, id) {
				do(b, i)
			}
		}
		return nil
	}
}
