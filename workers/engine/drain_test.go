package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

func TestDrainGivesTheRestBackAtOnce(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("f", 200, 10)
	slow := &testStage{process: func(context.Context, *stage.Batch) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	}}
	first := r.run(slow, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 10 })
	eventually(t, 10*time.Second, func() string {
		if first.Stats().In < 100 {
			return "not yet under way"
		}
		return ""
	})
	began := time.Now()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the drain took %s", took)
	}
	if slow.shutdown != 1 {
		t.Errorf("Shutdown was called %d times, want once", slow.shutdown)
	}
	if ok, text := first.Ready(); ok || text != "stopped" {
		t.Errorf("ready after the end: %v %s", ok, text)
	}
	done := first.Stats().In
	if done == 0 || done == 2000 {
		t.Fatalf("the first worker did %d events: the test shows nothing", done)
	}
	second := r.run(&testStage{}, nil)
	// AckWait is 30 s: only what was given back can come earlier.
	r.wantDrained(5 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	if got := second.Stats().In; got != 2000-done {
		t.Errorf("the second worker did %d events, want %d", got, 2000-done)
	}
	r.wantOnce("OUT", want)
}

func TestDrainWhileEventsAreRetried(t *testing.T) {
	for kind, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			want := r.publish("e", 1)
			var tried atomic.Bool
			s := &testStage{stateful: stateful, process: func(_ context.Context, b *stage.Batch) error {
				tried.Store(true)
				b.Retry(0, errors.New("later"))
				return nil
			}}
			first := r.run(s, func(c *config.StageConfig, _ *engine.Options) {
				c.Retry.InitialBackoff = config.Duration(time.Hour)
				c.Retry.MaxBackoff = config.Duration(time.Hour)
			})
			eventually(t, 5*time.Second, func() string {
				if !tried.Load() {
					return "not tried"
				}
				return ""
			})
			if err := first.end(); err != nil {
				t.Fatal(err)
			}
			if n := len(r.stored("DEAD")); n != 0 {
				t.Errorf("%d dead letters: a drain is no reason to give up", n)
			}
			second := r.run(&testStage{}, nil)
			r.wantDrained(5 * time.Second)
			if err := second.end(); err != nil {
				t.Fatal(err)
			}
			r.wantOnce("OUT", want)
		})
	}
}

func TestDrainIsBoundedWhenTheOutputIsFull(t *testing.T) {
	r := newRig(t)
	r.stream("OUT", "out.>", func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 })
	want := r.publishFrames("f", 50, 10)
	first := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) { c.DrainTimeout = config.Duration(time.Second) })
	eventually(t, 10*time.Second, func() string {
		if _, text := first.Ready(); !strings.Contains(text, "full") {
			return text
		}
		return ""
	})
	began := time.Now()
	err := first.end()
	if err == nil || !strings.Contains(err.Error(), "outputs were not confirmed") || !strings.Contains(err.Error(), "OUT") {
		t.Errorf("error: got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the drain took %s", took)
	}
	r.stream("OUT", "out.>", nil)
	second := r.run(&testStage{}, nil)
	r.wantDrained(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

func TestStuckStageIsNotAlive(t *testing.T) {
	r := newRig(t)
	r.publish("e", 1)
	release := make(chan struct{})
	s := &testStage{process: func(context.Context, *stage.Batch) error { <-release; return nil }}
	e := r.run(s, func(_ *config.StageConfig, o *engine.Options) { o.WedgedAfter = 200 * time.Millisecond })
	if ok, text := e.Alive(); !ok {
		t.Errorf("not alive before anything happened: %s", text)
	}
	eventually(t, 5*time.Second, func() string {
		if ok, _ := e.Alive(); ok {
			return "still alive"
		}
		return ""
	})
	close(release)
	r.wantDrained(5 * time.Second)
	if ok, text := e.Alive(); !ok {
		t.Errorf("not alive after it went on: %s", text)
	}
}

// TestSteadyLoadNeverPauses holds what a consumer with small pulls was seen to break: it
// stood still for 30 s with messages waiting.
func TestSteadyLoadNeverPauses(t *testing.T) {
	const limit = 2 * time.Second
	r := newRig(t)
	e := r.run(&testStage{}, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxInFlightBytes = 64 << 10 })
	data := []byte(eventJSON("steady"))
	deadline := time.Now().Add(10 * time.Second)
	published, lastIn, lastChange, longest := 0, int64(0), time.Now(), time.Duration(0)
	for time.Now().Before(deadline) {
		for range 20 {
			if _, err := r.js.PublishAsync("in.raw.x", data); err != nil {
				t.Fatal(err)
			}
			published++
		}
		time.Sleep(5 * time.Millisecond)
		if in := e.Stats().In; in != lastIn {
			lastIn, lastChange = in, time.Now()
		}
		longest = max(longest, time.Since(lastChange))
	}
	<-r.js.PublishAsyncComplete()
	r.wantDrained(5 * time.Second)
	if longest > limit {
		t.Errorf("the flow stood still for %s", longest)
	}
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if got := e.Stats().In; got != int64(published) {
		t.Errorf("%d events went in, want %d", got, published)
	}
	t.Logf("%d events, longest pause %s, p99 %.1f ms", published, longest, e.Stats().P99)
}

func TestStreamOrderAcrossADrain(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("f", 100, 10)
	var mu sync.Mutex
	var seen []string // of one worker
	s := &testStage{stateful: true, process: func(_ context.Context, b *stage.Batch) error {
		time.Sleep(2 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Events {
			seen = append(seen, strings.Clone(b.Events[i].ID))
		}
		return nil
	}}
	next := 0 // of want
	ended := func() {
		t.Helper()
		first := 0
		if len(seen) > 0 {
			first = slices.Index(want, seen[0])
		}
		// The server may take a while to take an acknowledgement in: then the next worker is given that message again.
		if first > next || first+len(seen) > len(want) || !slices.Equal(seen, want[max(first, 0):first+len(seen)]) {
			t.Fatalf("behind %d events a worker was given %v", next, seen)
		}
		next, seen = max(next, first+len(seen)), nil
	}
	for end := 100; end < 1000; end += 300 {
		e := r.run(s, func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 10 })
		eventually(t, 10*time.Second, func() string {
			mu.Lock()
			defer mu.Unlock()
			if next+len(seen) < end {
				return "not yet under way"
			}
			return ""
		})
		if err := e.end(); err != nil {
			t.Fatal(err)
		}
		ended()
	}
	e := r.run(s, nil)
	r.wantDrained(10 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	if ended(); next != len(want) {
		t.Errorf("%d of %d events were processed", next, len(want))
	}
	r.wantOnce("OUT", want)
}

// slowStart is a stage that takes its time to start, as enrich does when it reads a cluster.
type slowStart struct {
	*testStage

	release chan struct{}
}

func (s slowStart) New(stage.Settings) (stage.Stage, error) { return s, nil }
func (s slowStart) Start(context.Context) error             { <-s.release; return nil }

func TestFinalFlushWaitsForTheStart(t *testing.T) {
	r := newRig(t)
	var flushed atomic.Int32
	s := slowStart{release: make(chan struct{}), testStage: &testStage{flush: func(_ time.Time, final bool, _ *stage.Batch) error {
		if final {
			flushed.Add(1)
		}
		return nil
	}}}
	e := r.run(s.testStage, func(_ *config.StageConfig, o *engine.Options) { o.Factory = s })
	time.AfterFunc(100*time.Millisecond, func() { close(s.release) })
	if err := e.FinalFlush(t.Context()); err != nil {
		t.Errorf("a stage that has not started yet: %v", err)
	}
	if n := flushed.Load(); n != 1 {
		t.Errorf("the stage was flushed %d times, want once", n)
	}
}

func TestFinalFlushOfAStageThatCannotStart(t *testing.T) {
	r := newRig(t)
	e := r.run(&testStage{start: errors.New("no cluster")}, nil)
	if err := e.FinalFlush(t.Context()); err == nil || !strings.Contains(err.Error(), "the engine has stopped") {
		t.Errorf("got %v", err)
	}
}
