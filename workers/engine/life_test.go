package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

func TestFlushByTheClock(t *testing.T) {
	r := newRig(t)
	var n atomic.Int32
	s := &testStage{flush: func(_ time.Time, final bool, b *stage.Batch) error {
		if final {
			t.Error("a flush by the clock is not final")
		}
		switch n.Add(1) {
		case 1:
			b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "lost with the error", Source: "s", Type: "t"})
			return errors.New("not now")
		case 2:
			panic("oops")
		case 3:
			b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: "made", Source: "s", Type: "t"})
		}
		return nil
	}}
	e := r.run(s, nil)
	eventually(t, 10*time.Second, func() string {
		if e.Stats().Produced["out"] == 0 {
			return fmt.Sprintf("nothing was made in %d flushes", n.Load())
		}
		return ""
	})
	want := r.publish("e", 5) // it still works after the panic
	r.wantDrained(5 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", append(want, "made"))
}

func TestStageThatDoesNotStart(t *testing.T) {
	r := newRig(t)
	e := r.run(&testStage{start: errors.New("no cache")}, nil)
	eventually(t, 5*time.Second, func() string {
		if _, text := e.Ready(); text != "stopped" {
			return text
		}
		return ""
	})
	if err := e.end(); err == nil || !strings.Contains(err.Error(), "start stage validate: no cache") {
		t.Errorf("got %v", err)
	}
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "called before") {
		t.Errorf("a second Run: got %v", err)
	}
	if err := e.FinalFlush(t.Context()); err == nil {
		t.Error("a final flush of an engine that has stopped gave no error")
	}
}

func TestStageThatIgnoresTheEndOfTheDrain(t *testing.T) {
	r := newRig(t)
	want := r.publish("e", 3)
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	s := &testStage{process: func(context.Context, *stage.Batch) error {
		entered <- struct{}{}
		<-release
		return nil
	}}
	e := r.run(s, func(c *config.StageConfig, o *engine.Options) {
		c.DrainTimeout = config.Duration(200 * time.Millisecond)
	})
	<-entered
	err := e.end()
	close(release)
	if err == nil || !strings.Contains(err.Error(), "did not return from Process") {
		t.Errorf("got %v", err)
	}
	second := r.run(&testStage{}, nil)
	r.wantDrained(5 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("OUT", want)
}

// TestChaos restarts the server and the workers while events of every fate go through, and
// then counts: nothing may be missing, and nothing may be there twice.
func TestChaos(t *testing.T) {
	r := newRig(t)
	want := r.publishFrames("f", 800, 10)
	fate := func(id string) string {
		switch {
		case strings.HasSuffix(id, ".3"):
			return "dead"
		case strings.HasSuffix(id, ".4"):
			return "filter"
		case strings.HasSuffix(id, "7.5"):
			return "panic"
		}
		return "emit"
	}
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		time.Sleep(time.Millisecond)
		for i := range b.Events {
			switch fate(b.Events[i].ID) {
			case "dead":
				b.DeadLetter(i, "rule_failed", errors.New("no"))
			case "filter":
				b.Filter(i)
			case "panic":
				panic("poison")
			}
		}
		return nil
	}}
	small := func(c *config.StageConfig, _ *engine.Options) { c.Batch.MaxEvents = 20 }
	workers := []*running{r.run(s, small), r.run(s, small)}
	for round := range 6 {
		time.Sleep(60 * time.Millisecond)
		if round%3 == 1 {
			r.stopServer()
			r.startServer()
		}
		w := round % 2
		if err := workers[w].end(); err != nil {
			t.Logf("round %d: %v", round, err)
		}
		workers[w] = r.run(s, small)
	}
	eventually(t, 10*time.Second, func() string {
		if !r.nc.IsConnected() {
			return "the test is not connected"
		}
		return ""
	})
	// Without leases both have the lane, and take it from each other for as long as they run.
	if err := workers[0].end(); err != nil {
		t.Fatal(err)
	}
	r.wantDrained(45 * time.Second)
	if err := workers[1].end(); err != nil {
		t.Fatal(err)
	}
	var out, dead []string
	for _, id := range want {
		switch fate(id) {
		case "emit":
			out = append(out, id)
		case "dead", "panic":
			dead = append(dead, id)
		}
	}
	r.wantOnce("OUT", out)
	r.wantOnce("DEAD", dead)
}
