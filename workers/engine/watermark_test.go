package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/engine/progress"
	"millrace.dev/millrace/workers/event/decode"
	"millrace.dev/millrace/workers/stage"
)

// telling has the stage of a rig tell how far it is.
func telling(c *config.StageConfig) {
	c.Inputs[0].Writers = 1
	out := c.Outputs[config.PortOut]
	out.Watermarks = true
	c.Outputs[config.PortOut] = out
}

// heard is what the readers of a stream know when all of it is read: the watermark of each subject.
func (r *rig) heard(stream string) map[string]int64 {
	r.t.Helper()
	until := map[string]int64{}
	for _, m := range r.stored(stream) {
		mark, ok := progress.ParseMark(m.Headers().Get(progress.HeaderWatermark))
		if !ok {
			r.t.Errorf("a message on %s says %q", m.Subject(), m.Headers().Get(progress.HeaderWatermark))
		}
		if mark.Before != until[m.Subject()] || mark.After() < mark.Before {
			r.t.Errorf("a message on %s says %+v, behind one that said %d", m.Subject(), mark, until[m.Subject()])
		}
		until[m.Subject()] = mark.After()
	}
	return until
}

// wantHonest checks what messages of a stream promise: no event comes on a subject behind a watermark that is past it, and none is newer than
// its message says. The times of the ingress are those of the events.
func (r *rig) wantHonest(stream string) {
	r.t.Helper()
	until := map[string]int64{}
	d := decode.New(decode.Limits{})
	for _, m := range r.stored(stream) {
		mark, _ := progress.ParseMark(m.Headers().Get(progress.HeaderWatermark))
		d.Reset()
		events, _ := d.Decode(nil, decode.Message{Header: m.Headers(), Data: m.Data()})
		for i := range events {
			at := events[i].IngestTime
			if at <= until[m.Subject()] {
				r.t.Errorf("event %s of %d comes on %s, which said that it was at %d", events[i].ID, at, m.Subject(), until[m.Subject()])
			}
			if mark.Newest != 0 && at > mark.Newest {
				r.t.Errorf("event %s of %d is in a message that says that none is newer than %d", events[i].ID, at, mark.Newest)
			}
		}
		until[m.Subject()] = mark.After()
	}
}

// last is the time of the last message of a stream, Unix nanoseconds.
func (r *rig) last(stream string) int64 {
	r.t.Helper()
	s, err := r.js.Stream(ctxOf(r.t), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := s.GetMsg(ctxOf(r.t), s.CachedInfo().State.LastSeq)
	if err != nil {
		r.t.Fatal(err)
	}
	return m.Time.UnixNano()
}

// wantTold waits until each partition of a stream is told to be where the ingress is.
func (r *rig) wantTold(stream string, within time.Duration, subjects int) {
	r.t.Helper()
	want := r.last("IN")
	eventually(r.t, within, func() string {
		until := r.heard(stream)
		for subject, at := range until {
			if at < want {
				return fmt.Sprintf("%s is at %s, the ingress at %s", subject, time.Unix(0, at), time.Unix(0, want))
			}
		}
		if len(until) != subjects {
			return fmt.Sprintf("%d subjects say where they are, want %d", len(until), subjects)
		}
		return ""
	})
}

// TestSilentStageTells: a stage that ends all events says how far it is all the same, on each subject, once for a while.
func TestSilentStageTells(t *testing.T) {
	r := newRig(t)
	r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Filter(i)
		}
		return nil
	}}, func(c *config.StageConfig, _ *engine.Options) { telling(c) })
	began := time.Now()
	for range 20 {
		r.publish("a", 50)
		time.Sleep(10 * time.Millisecond)
	}
	r.wantTold("OUT", 2*time.Second, partitions)
	if _, ids := r.count("OUT"); len(ids) != 0 {
		t.Errorf("events %v are stored", ids)
	}
	if n, most := len(r.stored("OUT")), partitions*(2+int(time.Since(began)/(100*time.Millisecond))); n > most { // ten times a second
		t.Errorf("%d messages say it, want %d at most", n, most)
	}
	before := len(r.stored("OUT"))
	time.Sleep(500 * time.Millisecond)
	if after := len(r.stored("OUT")); after != before {
		t.Errorf("%d messages more while nothing came", after-before)
	}
}

// TestLastWordIsRepeated: a reader that merges several inputs waits for a later message of each, and gets one soon.
func TestLastWordIsRepeated(t *testing.T) {
	r := newRig(t)
	r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Filter(i)
		}
		return nil
	}}, func(c *config.StageConfig, _ *engine.Options) {
		telling(c)
		out := c.Outputs[config.PortOut]
		out.Merged = true
		c.Outputs[config.PortOut] = out
	})
	r.publish("a", 1)
	r.wantTold("OUT", 2*time.Second, partitions)
	const want = partitions * (1 + 4)
	eventually(t, 5*time.Second, func() string {
		if n := len(r.stored("OUT")); n != want {
			return fmt.Sprintf("%d messages, want %d", n, want)
		}
		return ""
	})
	time.Sleep(4 * time.Second) // more than any wait between two of them
	if n := len(r.stored("OUT")); n != want {
		t.Errorf("%d messages, want %d and no more", n, want)
	}
	times := map[string][]time.Time{}
	for _, m := range r.stored("OUT") {
		at, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		times[m.Subject()] = append(times[m.Subject()], at.Timestamp)
	}
	for subject, all := range times {
		if first, last := all[1].Sub(all[0]), all[4].Sub(all[0]); first > time.Second || last > 5*time.Second {
			t.Errorf("on %s the first repetition came after %s, the last after %s", subject, first, last)
		}
	}
	r.heard("OUT")
}

// TestMarkersDoNotWaitForRoom: a lane that has nothing but markers for a stream that is full goes on, and says them when there is room again.
func TestMarkersDoNotWaitForRoom(t *testing.T) {
	r := newRig(t)
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	if _, err := r.js.Publish(ctxOf(t), "out.other", nil); err != nil {
		t.Fatal(err)
	}
	r.run(&testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Filter(i)
		}
		return nil
	}}, func(c *config.StageConfig, _ *engine.Options) { telling(c) })
	for range 5 {
		r.publish("a", 20)
		time.Sleep(150 * time.Millisecond) // so that markers are due
	}
	r.wantDrained(3 * time.Second)
	if n := len(r.stored("OUT")); n != 1 {
		t.Fatalf("%d messages in a full stream", n)
	}
	r.stream("OUT", "out.>", nil)
	s, err := r.js.Stream(ctxOf(t), "OUT")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctxOf(t), jetstream.WithPurgeSubject("out.other")); err != nil {
		t.Fatal(err)
	}
	r.wantTold("OUT", 3*time.Second, partitions)
}

// TestStageThatDoesNotTell stores nothing that it has not been asked for.
func TestStageThatDoesNotTell(t *testing.T) {
	r := newRig(t)
	r.run(&testStage{}, nil)
	r.publish("a", 20)
	r.wantDrained(5 * time.Second)
	time.Sleep(300 * time.Millisecond)
	for _, m := range r.stored("OUT") {
		if h := m.Headers().Get(progress.HeaderWatermark); h != "" || len(idsOf(t, m)) == 0 {
			t.Errorf("a message on %s says %q", m.Subject(), h)
		}
	}
}

// TestWatermarksSurviveKills kills workers of a stage that ends half of its events at any point. What its outputs promise holds, and at the end
// they are where the ingress is, also what the last worker has not processed itself.
func TestWatermarksSurviveKills(t *testing.T) {
	r := newRig(t)
	half := func() *testStage {
		return &testStage{process: func(_ context.Context, b *stage.Batch) error {
			time.Sleep(time.Millisecond)
			for i := range b.Events {
				if strings.HasSuffix(b.Events[i].ID, "1") || strings.HasSuffix(b.Events[i].ID, "4") {
					b.Filter(i)
				}
			}
			return nil
		}}
	}
	var all []string
	for round := range 8 {
		all = append(all, r.publish(fmt.Sprintf("r%d-", round), 150)...)
		e := r.run(half(), func(c *config.StageConfig, o *engine.Options) {
			telling(c)
			c.Batch.MaxEvents, c.DrainTimeout = 8, config.Duration(50*time.Millisecond)
		})
		time.Sleep(time.Duration(20+round*23) * time.Millisecond)
		e.nc.Close() // as a kill: nothing more is stored or acknowledged
		_ = e.end()
	}
	e := r.run(half(), func(c *config.StageConfig, _ *engine.Options) { telling(c) })
	r.wantDrained(10 * time.Second)
	r.wantTold("OUT", 3*time.Second, partitions)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantHonest("OUT")
	r.wantOnce("OUT", slices.DeleteFunc(all, func(id string) bool { return strings.HasSuffix(id, "1") || strings.HasSuffix(id, "4") }))
}

// TestKilledBeforeItTells: the worker before has acknowledged all, and has not said so.
func TestKilledBeforeItTells(t *testing.T) {
	r := newRig(t)
	end := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			b.Filter(i)
		}
		return nil
	}}
	e := r.run(end, nil) // one that does not tell at all
	r.publish("a", 10)
	r.wantDrained(5 * time.Second)
	_ = e.end()
	r.run(end, func(c *config.StageConfig, _ *engine.Options) { telling(c) })
	r.wantTold("OUT", 3*time.Second, partitions)
}

// TestWatermarksPassOn: behind a stage that repartitions, a reader with a lane for each partition is where the slowest of its writers is.
func TestWatermarksPassOn(t *testing.T) {
	r := newRig(t)
	r.lanes()
	reads := r.reads()
	first := func(c *config.StageConfig, o *engine.Options) {
		telling(c)
		out := c.Outputs[config.PortOut]
		out.Repartition = true
		c.Outputs[config.PortOut] = out
	}
	second := func(c *config.StageConfig, o *engine.Options) {
		reads(c, o)
		c.Inputs[0].Writers = 1 // the first stage has one lane
		out := c.Outputs[config.PortOut]
		out.Watermarks = true
		c.Outputs[config.PortOut] = out
	}
	r.run(&testStage{}, first)
	e := r.run(&testStage{}, second)
	ids := r.publish("a", 100)
	r.wantTold("LAST", 5*time.Second, partitions)
	_ = e.end()
	more := r.publish("b", 100)
	r.run(&testStage{}, second)
	r.wantTold("LAST", 5*time.Second, partitions)
	r.wantHonest("LAST")
	r.wantOnce("LAST", append(ids, more...))
}
