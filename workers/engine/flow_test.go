package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/engine/stats"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

func TestEveryEventGoesThroughOnce(t *testing.T) {
	for name, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := r.publish("loose-", 300)
			want = append(want, r.publishFrames("frame-", 20, 70)...)
			e := r.run(&testStage{stateful: stateful}, nil)
			r.wantDrained(20 * time.Second)
			if err := e.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", want)
			got := e.Stats()
			if got.In != 1700 || got.Emitted != 1700 || got.Out != 1700 || got.Lag != 0 || got.InFlightMessages != 0 {
				t.Errorf("stats: got %+v", got)
			}
			if got.P50 <= 0 || got.P99 < got.P50 {
				t.Errorf("latency: p50 %v ms, p99 %v ms", got.P50, got.P99)
			}
		})
	}
}

func TestFramesAreOfOnePartition(t *testing.T) {
	r := newRig(t)
	r.publish("e", 500)
	e := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.stored("OUT") {
		d := decode.New(decode.Limits{})
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		if got, want := m.Headers().Get("Millrace-Events"), fmt.Sprint(len(events)); got != want {
			t.Errorf("header Millrace-Events: got %s, want %s", got, want)
		}
		if len(events) > 100 {
			t.Errorf("a frame holds %d events, more than maxEvents", len(events))
		}
		for i := range events {
			if got, want := m.Subject(), fmt.Sprintf("out.validated.%d", events[i].PartitionOf(partitions)); got != want {
				t.Errorf("event %s is on %s, want %s", events[i].ID, got, want)
			}
		}
		if at := m.Headers().Get("Millrace-Position"); !strings.HasPrefix(at, "ingress@") {
			t.Errorf("position %q", at)
		}
	}
}

func TestStatefulStageSeesStreamOrder(t *testing.T) {
	r := newRig(t)
	want := r.publish("e", 400)
	want = append(want, r.publishFrames("f", 10, 50)...)
	want = append(want, r.publish("g", 100)...)
	var seen []string
	e := r.run(&testStage{stateful: true, process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			seen = append(seen, strings.Clone(b.Events[i].ID))
		}
		return nil
	}}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestVerdicts(t *testing.T) {
	r := newRig(t)
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			switch id := b.Events[i].ID; {
			case strings.HasPrefix(id, "filter"):
				b.Filter(i)
			case strings.HasPrefix(id, "twice"):
				b.Duplicate(i)
			case strings.HasPrefix(id, "dead"):
				b.DeadLetter(i, "rule_failed", fmt.Errorf("no\ngood"))
			case strings.HasPrefix(id, "port"):
				b.Emit(i, stage.Out|1<<20)
			}
		}
		return nil
	}}
	msg := nats.NewMsg("in.raw.x")
	msg.Header.Set("Content-Type", event.ContentTypeNDJSON)
	msg.Header.Set("X-Sender", "me")
	lines := []string{eventJSON("ok1"), eventJSON("filter1"), "this is no event", eventJSON("twice1"), eventJSON("dead1"), eventJSON("port1"), eventJSON("ok2")}
	r.send(msg, []byte(strings.Join(lines, "\n")))
	e := r.run(s, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", []string{"ok1", "ok2"})
	got := e.Stats()
	want := stats.Snapshot{In: 7, Emitted: 2, Out: 2, Filtered: 1, Duplicates: 1, DeadLettered: 3}
	got = stats.Snapshot{In: got.In, Emitted: got.Emitted, Out: got.Out, Filtered: got.Filtered, Duplicates: got.Duplicates, DeadLettered: got.DeadLettered}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	type letter struct{ reason, index, body, attempts, stream, subject, sequence string }
	var letters []letter
	for _, m := range r.stored("DEAD") {
		h := m.Headers()
		letters = append(letters, letter{h.Get("Millrace-Reason"), h.Get("Millrace-Index"), string(m.Data()), h.Get("Millrace-Attempts"), h.Get("Millrace-Stream"), h.Get("Millrace-Subject"), h.Get("Millrace-Sequence")})
		if m.Subject() != "dead.validate.0" || h.Get("Millrace-Stage") != "validate" || strings.Contains(h.Get("Millrace-Error"), "\n") || h.Get("Millrace-Error") == "" {
			t.Errorf("dead letter on %s with headers %v", m.Subject(), h)
		}
		if _, err := time.Parse(time.RFC3339Nano, h.Get("Millrace-Time")); err != nil {
			t.Error(err)
		}
	}
	slices.SortFunc(letters, func(a, b letter) int { return strings.Compare(a.index, b.index) })
	wantLetters := []letter{
		{"undecodable", "2", lines[2], "1", "IN", "in.raw.x", "1"},
		{"rule_failed", "4", lines[4], "1", "IN", "in.raw.x", "1"},
		{"unknown_port", "5", lines[5], "1", "IN", "in.raw.x", "1"},
	}
	if diff := cmp.Diff(wantLetters, letters, cmp.AllowUnexported(letter{})); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

func TestWholeMessageKeepsItsHeadersWhenDead(t *testing.T) {
	r := newRig(t)
	msg := nats.NewMsg("in.raw.x")
	msg.Header.Set("Content-Type", "application/octet-stream")
	msg.Header.Set("X-Sender", "me")
	msg.Header.Set("Nats-Msg-Id", "theirs")
	garbage := []byte("\x00\x01\xff garbage")
	r.send(msg, garbage)
	e := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	dead := r.stored("DEAD")
	if len(dead) != 1 {
		t.Fatalf("%d dead letters, want 1", len(dead))
	}
	h := dead[0].Headers()
	if string(dead[0].Data()) != string(garbage) || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Sender") != "me" || h.Get("Nats-Msg-Id") == "theirs" || h.Get("Millrace-Reason") != "undecodable" {
		t.Errorf("dead letter %q with headers %v", dead[0].Data(), h)
	}
}

func TestTraceContextIsCarried(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := newRig(t)
	msg := nats.NewMsg("in.raw.x")
	msg.Header.Set("traceparent", parent)
	r.send(msg, []byte(eventJSON("traced")))
	e := r.run(&testStage{}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if got := r.stored("OUT")[0].Headers().Get("traceparent"); got != parent {
		t.Errorf("traceparent: got %q, want %q", got, parent)
	}
}

func TestProducedEventsAndFinalFlush(t *testing.T) {
	r := newRig(t)
	r.publish("e", 50)
	var mu sync.Mutex
	seen := 0
	insight := func(id string, revision uint32) *eventv1.Event {
		return &eventv1.Event{
			Id: id, Source: "test", Type: "test.insight", SeverityNumber: 17, Body: "found \xff it",
			Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: "x", Revision: revision}},
		}
	}
	s := &testStage{
		stateful: true,
		process: func(_ context.Context, b *stage.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Events {
				seen++
				b.Filter(i)
			}
			if seen == 50 {
				b.Produce(stage.NoParent, stage.Insights, insight("i1", 1))
				b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "made", Source: "test", Type: "test.made"})
			}
			return nil
		},
		flush: func(_ time.Time, final bool, b *stage.Batch) error {
			if final {
				b.Produce(stage.NoParent, stage.Insights, insight("i1", 2))
			}
			return nil
		},
	}
	e := r.run(s, nil)
	r.wantDrained(20 * time.Second)
	if err := e.FinalFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := e.Stats()
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", []string{"made"})
	var ids []string
	for _, m := range r.stored("INSIGHTS") {
		ids = append(ids, revision(t, m.Data()))
		if m.Subject() != "insights.validate.error.0" || m.Headers().Get("Content-Type") != event.ContentTypeCloudEvent {
			t.Errorf("insight on %s with %v", m.Subject(), m.Headers())
		}
	}
	if diff := cmp.Diff([]string{"i1:1", "i1:2"}, ids); diff != "" {
		t.Errorf("insights (-want +got):\n%s", diff)
	}
	if got.Filtered != 50 || got.Out != 1 || got.Produced["insights"] != 2 || got.Produced["out"] != 1 {
		t.Errorf("stats: %+v", got)
	}
}

// revision is the id and the revision of an insight.
func revision(t *testing.T, data []byte) string {
	t.Helper()
	events, bad := decode.New(decode.Limits{}).Decode(nil, decode.Message{Data: data, Header: map[string][]string{"Content-Type": {event.ContentTypeCloudEvent}}})
	if len(bad) > 0 {
		t.Fatal(bad[0].Err)
	}
	m, err := events[0].ToProto()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s:%d", m.GetId(), m.GetInsight().GetRevision())
}

// TestLooseMessagesAreSeenAtTheirTime: stages see single events in batches, but not those that were stored much later
// than others as if they had come with them.
func TestLooseMessagesAreSeenAtTheirTime(t *testing.T) {
	r := newRig(t)
	ids := r.publish("a", 3)
	time.Sleep(400 * time.Millisecond)
	between := time.Now().Add(-200 * time.Millisecond)
	ids = append(ids, r.publish("b", 3)...)
	var mu sync.Mutex
	seen := map[string]time.Time{}
	e := r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Events {
			seen[strings.Clone(b.Events[i].ID)] = b.Now
		}
		return nil
	}}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", ids)
	for id, now := range seen {
		if late := id[0] == 'b'; late != now.After(between) {
			t.Errorf("event %s was seen at %s, where %s is between those of a and b", id, now, between)
		}
	}
}

// TestLooseMessagesAreBoundedInMemory: a small message may hold many bytes, so it is those that end a batch.
func TestLooseMessagesAreBoundedInMemory(t *testing.T) {
	r := newRig(t)
	var ids []string
	for i := range 40 {
		id := fmt.Sprintf("e%d", i)
		ids = append(ids, id)
		block := r.frame(fmt.Sprintf(`{"id":%q,"source":"test","type":"test.made","body":%q}`, id, strings.Repeat("x", 900<<10)))
		r.send(nats.NewMsg("in.raw.x"), block) // nothing says that it is a frame
	}
	var most atomic.Int64
	e := r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
		bytes := 0
		for i := range b.Events {
			bytes += b.Events[i].Size()
		}
		most.Store(max(most.Load(), int64(bytes)))
		return nil
	}}, nil)
	r.wantDrained(20 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", ids)
	if got := most.Load(); got > 6<<20 {
		t.Errorf("a stage got %d bytes at once, want few MiB", got)
	}
}
