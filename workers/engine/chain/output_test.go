package chain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine/chain"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event/decode"
	eventframe "millrace.dev/millrace/workers/event/frame"
	"millrace.dev/millrace/workers/stage"
)

// randomText cannot be compressed.
func randomText(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[r.IntN(64)]
	}
	return string(b)
}

func insight(id string, evidence int, text string) *eventv1.Event {
	in := &eventv1.Insight{Title: "title", Summary: text}
	for range evidence {
		in.Evidence = append(in.Evidence, &eventv1.Evidence{EventId: randomText(100)})
	}
	return &eventv1.Event{Id: id, Source: "s", Type: "t", SeverityNumber: 17, Body: text, Signal: &eventv1.Event_Insight{Insight: in}}
}

// TestProduce: where the new events of a stage go.
func TestProduce(t *testing.T) {
	one := func(port stage.Ports, e *eventv1.Event) func(b *stage.Batch) error {
		return func(b *stage.Batch) error { b.Filter(0); b.Produce(stage.NoParent, port, e); return nil }
	}
	produced := func(port string) chain.Tally {
		return chain.Tally{Events: 1, Filtered: 1, Produced: []chain.Count{{Name: port, N: 1}}, Ports: []chain.Count{{Name: port, N: 1}}}
	}
	out := produced("out")
	out.Out, out.Ports = 1, nil
	dead := produced(config.PortDeadLetter)
	dead.Ports = nil
	dead.Reasons = []chain.Count{{Name: "too_large", N: 1}}
	for name, c := range map[string]struct {
		process func(b *stage.Batch) error
		payload int64
		want    []string
		tally   chain.Tally
		log     string
	}{
		"on out":         {one(0, &eventv1.Event{Id: "n", Source: "s", Type: "t"}), 0, []string{"a.out.0: n"}, out, ""},
		"on out by name": {one(stage.Out, &eventv1.Event{Id: "n", Source: "s", Type: "t"}), 0, []string{"a.out.0: n"}, out, ""},
		"an insight":     {one(stage.Insights, insight("n", 1, "x")), 0, []string{"a.insights.a.error.0: n"}, produced("insights"), ""},
		"without an id":  {one(stage.Insights, insight("", 1, "x")), 0, []string{"a.insights.a.error.0: "}, produced("insights"), ""},
		"raw":            {one(raw, insight("n", 1, "x")), 0, []string{"a.raw.0: n"}, produced("raw"), ""},
		"an insight that is too large loses evidence": {
			one(stage.Insights, insight("n", 1000, "x")), 64 << 10, []string{"a.insights.a.error.0: n"}, produced("insights"), "",
		},
		"an insight that is much too large loses all": {
			one(stage.Insights, insight("n", 1000, randomText(100_000))), 6 << 10, []string{"a.insights.a.error.0: n"}, produced("insights"), "",
		},
		"an insight with a very long id is dead": {
			one(stage.Insights, insight(randomText(100_000), 1, "x")), 6 << 10, []string{"a.dead.0: ? too_large"}, dead, "",
		},
		"a frame that is too large is dead": {
			one(stage.Out, insight("n", 1, randomText(100_000))), 32 << 10, []string{"a.dead.0: ? too_large"}, dead, "",
		},
		"another event that is too large loses text": {
			one(stage.Insights, &eventv1.Event{Id: "n", Source: "s", Type: "t", SeverityNumber: 13, Body: randomText(100_000)}),
			64 << 10,
			[]string{"a.insights.a.warn.0: n"},
			produced("insights"), "",
		},
		"text that is not UTF-8 is mended": {
			one(stage.Insights, &eventv1.Event{
				Id: "n\xff", Source: "s", Type: "t", SeverityNumber: 21,
				Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: "\xff", Evidence: []*eventv1.Evidence{{EventId: "\xff"}}}},
			}), 0, []string{"a.insights.a.fatal.0: n\uFFFD"}, produced("insights"), "",
		},
		"on a port that is not there": {
			one(1<<20, insight("n", 1, "x")), 0, nil, chain.Tally{Events: 1, Filtered: 1}, "the stage made an event for a port that it does not have",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{process: c.process})
			r.payload = c.payload
			r.want(r.take(loose("e")), c.want...)
			r.wantTally(0, c.tally)
			r.wantLog(c.log)
			for _, p := range r.step.Pending {
				for _, o := range p.Outputs {
					if c.payload > 0 && int64(len(o.Data)+512) > c.payload {
						t.Errorf("%s has %d bytes, the server takes %d", o.Subject, len(o.Data), c.payload)
					}
				}
			}
		})
	}
}

// TestFramesAreBounded: by events, by bytes, and by what the server takes.
func TestFramesAreBounded(t *testing.T) {
	var lines, single []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf(`{"id":"e%d","source":"s","type":"t","partitionkey":"k","body":%q}`, i, randomText(1000)))
		single = append(single, fmt.Sprint("e", i))
	}
	for name, c := range map[string]struct {
		limits  chain.Limits
		payload int64
		frames  int
	}{
		"by events":     {chain.Limits{MaxEvents: 10, MaxBytes: 1 << 20, Attempts: 1}, 0, 3},
		"by bytes":      {chain.Limits{MaxEvents: 100, MaxBytes: 10_700, Attempts: 1}, 0, 3},
		"by the server": {chain.Limits{MaxEvents: 100, MaxBytes: 1 << 20, Attempts: 1}, 14_300, 3},
		"not at all":    {chain.Limits{MaxEvents: 100, MaxBytes: 1 << 20, Attempts: 1}, 1 << 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{})
			r.limits, r.payload = c.limits, c.payload
			got := r.take(framed(t, lines...))
			var all []string
			for _, line := range got {
				all = append(all, strings.Fields(line)[1:]...)
			}
			if diff := cmp.Diff(single, all); diff != "" {
				t.Error(diff)
			}
			if len(got) != c.frames {
				t.Errorf("%d frames, want %d", len(got), c.frames)
			}
			for _, o := range r.step.Pending[0].Outputs {
				if o.Header[eventframe.HeaderEvents][0] != strconv.Itoa(o.Events) || c.payload > 0 && int64(len(o.Data)) > c.payload {
					t.Errorf("%d events, %d bytes, headers %v", o.Events, len(o.Data), o.Header)
				}
			}
		})
	}
}

// TestTooLarge: an event that the server does not take alone is a dead letter, cut to what it takes.
func TestTooLarge(t *testing.T) {
	big := chain.Message{Subject: "in.raw", Message: decode.Message{Data: fmt.Appendf(nil, `{"id":"big","source":"s","type":"t","partitionkey":"k","body":%q}`, randomText(50_000))}}
	packed := chain.Message{Subject: "in.raw", Message: decode.Message{Data: fmt.Appendf(nil, `{"id":"big","source":"s","type":"t","partitionkey":"k","body":%q}`, strings.Repeat("x", 50_000))}}
	for name, c := range map[string]struct {
		message chain.Message
		port    stage.Ports
		want    []string
	}{
		"a frame":            {big, 0, []string{"a.dead.0: ? too_large"}},
		"that can be packed": {packed, 0, []string{"a.out.0: big"}},
		"a single message":   {big, raw, []string{"a.dead.0: ? too_large"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{process: func(b *stage.Batch) error { b.Emit(0, c.port); return nil }})
			r.payload = 16 << 10
			r.want(r.take(c.message), c.want...)
			o := r.step.Pending[0].Outputs[0]
			if o.Header["Millrace-Reason"] == nil {
				return
			}
			if o.Header["Millrace-Truncated"] == nil || o.Header["Millrace-Size"][0] < "50" || len(o.Data) > 16<<10 {
				t.Errorf("%d bytes, headers %v", len(o.Data), o.Header)
			}
		})
	}
	t.Run("the limit changes", func(t *testing.T) {
		r := newRig(t, fake{}).open(nil)
		r.chain.SetMaxPayload(16 << 10)
		r.want(r.take(big), "a.dead.0: ? too_large")
		r.step.Reset()
		r.chain.SetMaxPayload(1 << 20)
		r.want(r.take(big), "a.out.0: big")
	})
	t.Run("headers of the sender", func(t *testing.T) {
		m := chain.Message{Subject: "in.raw", Message: decode.Message{Data: []byte("{"), Header: map[string][]string{
			"X-Small": {"s"}, "X-Large": {randomText(70_000)},
		}}}
		r := newRig(t, fake{})
		r.take(m)
		if h := r.step.Pending[0].Outputs[0].Header; h["X-Small"] == nil || h["X-Large"] != nil || h["Millrace-Truncated"] == nil {
			t.Errorf("headers %v", slices.Collect(func(yield func(string) bool) {
				for k := range h {
					if !yield(k) {
						return
					}
				}
			}))
		}
	})
}

// TestTraceContext: a frame of one loose event carries the trace context of its message; one of several events, or of events from a
// frame, does not.
func TestTraceContext(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	with := func(m chain.Message, state string) chain.Message {
		h := map[string][]string{"traceparent": {parent}, "tracestate": {state}}
		for k, v := range m.Header {
			h[k] = v
		}
		m.Header = h
		return m
	}
	for name, c := range map[string]struct {
		messages []chain.Message
		want     [2][]string
	}{
		"one event":      {[]chain.Message{with(loose("e"), "a=b")}, [2][]string{{parent}, {"a=b"}}},
		"a long state":   {[]chain.Message{with(loose("e"), randomText(513))}, [2][]string{{parent}, nil}},
		"no state":       {[]chain.Message{with(loose("e"), "")}, [2][]string{{parent}, nil}},
		"several events": {[]chain.Message{with(loose("e0"), "a=b"), with(loose("e1"), "a=b")}, [2][]string{}},
		"a frame":        {[]chain.Message{with(frame(t, "e"), "a=b")}, [2][]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fake{})
			r.take(c.messages...)
			h := r.step.Pending[0].Outputs[0].Header
			if diff := cmp.Diff(c.want, [2][]string{h[chain.HeaderTraceparent], h[chain.HeaderTracestate]}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestStoredInPart: a worker was killed when some outputs of a step were stored. Another one processes all of it again, and stores
// the rest: each event is stored once, whichever outputs were lost.
func TestStoredInPart(t *testing.T) {
	makes := fake{process: func(b *stage.Batch) error {
		for i, id := range ids(b) {
			switch {
			case strings.HasSuffix(id, "1"):
				b.Emit(i, late)
			case strings.HasSuffix(id, "2"):
				b.DeadLetter(i, "rule_failed", errors.New("no"))
			case strings.HasSuffix(id, "3"):
				b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "new-" + id, Source: "s", Type: "t", PartitionKey: "k"})
				b.Produce(stage.NoParent, stage.Insights, insight("insight-"+id, 1, "x"))
				b.Produce(stage.NoParent, stage.Insights, insight("large-"+id, 1, "x"+randomText(2*len(id))))
			}
		}
		return nil
	}}
	messages := func() []chain.Message {
		bad := chain.Message{Subject: "in.raw", Message: decode.Message{Data: []byte("{")}}
		return []chain.Message{frame(t, "a0", "a1", "a2"), bad, frame(t, "b3", "b0")}
	}
	whole := newRig(t, makes, fake{})
	whole.limits.MaxEvents = 2
	want := whole.take(messages()...)
	for lost := range len(want) + 1 {
		for _, fromFront := range []bool{true, false} {
			t.Run(fmt.Sprint(lost, fromFront), func(t *testing.T) {
				first := newRig(t, makes, fake{})
				first.limits.MaxEvents = 2
				first.take(messages()...)
				// Of each outlet a first part of its outputs is stored.
				var stored []string
				var written []progress.Written
				left := len(want) - lost
				pending := slices.Clone(first.step.Pending)
				if fromFront {
					slices.Reverse(pending)
				}
				for _, p := range pending {
					w := progress.Written{Node: p.Outlet.Node.Index, Track: p.Outlet.Number, Port: p.Outlet.Port.Number, Done: make([]progress.Position, 2)}
					for _, o := range p.Outputs {
						if left--; left >= 0 {
							stored = append(stored, first.line(o))
							w.Items, w.Reach = append(w.Items, &o.Items), o.Reach
						}
					}
					if w.Items != nil {
						written = append(written, w)
					}
				}
				second := newRig(t, makes, fake{})
				second.limits.MaxEvents = 2
				second.open(nil)
				second.open(progress.NewDoubt(2, second.graph.Parents(), written))
				stored = append(stored, second.take(messages()...)...)
				if diff := cmp.Diff(flat(want), flat(stored)); diff != "" {
					t.Errorf("stored differs (-want +got):\n%s", diff)
				}
				var skips int64
				for _, tl := range second.step.Tallies {
					for _, c := range tl.Skips {
						skips += c.N
					}
				}
				if (skips > 0) != (len(written) > 0) {
					t.Errorf("%d events were skipped", skips)
				}
			})
		}
	}
}

// TestDecidedOtherwise: a worker was killed when the outputs of some subjects of a step were stored, and the next one decides otherwise.
func TestDecidedOtherwise(t *testing.T) {
	filter := func(b *stage.Batch, i int) { b.Filter(i) }
	for name, c := range map[string]struct {
		chained       bool
		first, second func(b *stage.Batch, i int)
		stored        string // the subjects of what is stored
		want          []string
	}{
		"what a chained stage has stored went on before it": {true, nil, filter, "b.out.0", []string{"a.out.0: e"}},
		"what went on is given to the chained stage":        {true, nil, filter, "a.out.0", []string{"b.out.0: e"}},
		"one of two ports": {
			false, func(b *stage.Batch, i int) { b.Emit(i, stage.Out|late) }, filter, "a.late.0", []string{"a.out.0: e"},
		},
		"one of three ports": {
			false, func(b *stage.Batch, i int) { b.Emit(i, stage.Out|late|raw) }, func(b *stage.Batch, i int) { b.Emit(i, stage.Insights) }, "a.late.0",
			[]string{"a.out.0: e", "a.raw.0: e"},
		},
		"all ports": {false, func(b *stage.Batch, i int) { b.Emit(i, stage.Out|late) }, filter, "a.late.0 a.out.0", nil},
		"none":      {false, func(b *stage.Batch, i int) { b.Emit(i, stage.Out|late) }, func(b *stage.Batch, i int) { b.Emit(i, raw) }, "", []string{"a.raw.0: e"}},
	} {
		t.Run(name, func(t *testing.T) {
			worker := func(decide func(b *stage.Batch, i int)) *rig {
				a := fake{}
				if decide != nil {
					a.process = on(decide, "e")
				}
				if c.chained {
					return newRig(t, a, fake{})
				}
				return newRig(t, a)
			}
			first := worker(c.first)
			first.take(loose("e"))
			var written []progress.Written
			for _, p := range first.step.Pending {
				if slices.Contains(strings.Fields(c.stored), p.Outlet.Subject) {
					written = append(written, progress.Written{
						Node: p.Outlet.Node.Index, Track: p.Outlet.Number, Port: p.Outlet.Port.Number, Done: make([]progress.Position, 2),
						Items: []*progress.Items{&p.Outputs[0].Items}, Reach: p.Outputs[0].Reach,
					})
				}
			}
			second := worker(c.second)
			second.open(nil)
			second.open(progress.NewDoubt(2, second.graph.Parents(), written))
			got := second.take(loose("e"))
			slices.Sort(got)
			second.want(got, c.want...)
		})
	}
}

// TestNewEventOnAnotherPort: a new event that a chained stage has stored left on port out, whatever port it is made for at the second try.
func TestNewEventOnAnotherPort(t *testing.T) {
	worker := func(port stage.Ports) *rig {
		return newRig(t, fake{process: func(b *stage.Batch) error {
			b.Filter(0)
			b.Produce(0, port, insight("n", 1, "x"))
			return nil
		}}, fake{})
	}
	first := worker(stage.Out)
	first.want(first.take(loose("e")), "a.out.0: n", "b.out.0: n")
	for _, p := range first.step.Pending {
		second := worker(stage.Insights)
		second.open(nil)
		second.open(progress.NewDoubt(2, second.graph.Parents(), []progress.Written{{
			Node: p.Outlet.Node.Index, Track: p.Outlet.Number, Port: p.Outlet.Port.Number, Done: make([]progress.Position, 2),
			Items: []*progress.Items{&p.Outputs[0].Items}, Reach: p.Outputs[0].Reach,
		}}))
		want := map[string]string{"a.out.0": "b.out.0: n", "b.out.0": "a.out.0: n"}[p.Outlet.Subject]
		second.want(second.take(loose("e")), want)
	}
}

// TestTooLargeForOneOfTwoPorts: the dead letter of one copy says where the other one belongs, should nothing else be stored.
func TestTooLargeForOneOfTwoPorts(t *testing.T) {
	big := chain.Message{Subject: "in.raw", Message: decode.Message{Data: fmt.Appendf(nil, `{"id":"big","source":"s","type":"t","partitionkey":"k","body":%q}`, strings.Repeat("x", 50_000))}}
	worker := func(decide func(b *stage.Batch, i int)) *rig {
		r := newRig(t, fake{process: on(decide, "big")})
		r.payload = 16 << 10
		return r
	}
	first := worker(func(b *stage.Batch, i int) { b.Emit(i, late|raw) })
	got := first.take(big)
	slices.Sort(got)
	first.want(got, "a.dead.0: ? too_large", "a.late.0: big")
	for _, p := range first.step.Pending {
		if p.Outlet.Subject != "a.dead.0" {
			continue
		}
		second := worker(func(b *stage.Batch, i int) { b.Filter(i) })
		second.open(nil)
		second.open(progress.NewDoubt(2, second.graph.Parents(), []progress.Written{{
			Node: p.Outlet.Node.Index, Track: p.Outlet.Number, Port: p.Outlet.Port.Number, Done: make([]progress.Position, 2),
			Items: []*progress.Items{&p.Outputs[0].Items}, Reach: p.Outputs[0].Reach,
		}}))
		second.want(second.take(big), "a.late.0: big")
	}
}

// flat are the events of outputs, however they are packed.
func flat(lines []string) (all []string) {
	for _, line := range lines {
		subject, rest, _ := strings.Cut(line, ": ")
		if reason := strings.Index(rest, " rule_"); reason >= 0 || strings.Contains(rest, "undecodable") {
			all = append(all, line)
			continue
		}
		for _, id := range strings.Fields(rest) {
			all = append(all, subject+" "+id)
		}
	}
	slices.Sort(all)
	return all
}

// TestDone is up to where everything is stored, once the steps before are.
func TestDone(t *testing.T) {
	r := newRig(t, fake{})
	r.take(loose("e0"), loose("e1"))
	if got := r.chain.Done(); got[0].Seq != 2 || got[1].Seq != 0 {
		t.Errorf("done up to %v", got)
	}
}
