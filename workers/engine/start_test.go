package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// diary is written by the stages that start and end.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// starter makes stages that write down their starts and ends; fails is why they do not start.
type starter struct {
	testStage
	kind  config.Kind
	diary *diary
	fails error
}

func (s *starter) Kind() config.Kind                       { return s.kind }
func (s *starter) New(stage.Settings) (stage.Stage, error) { return s, nil }

func (s *starter) Start(context.Context) error {
	s.diary.write("start " + string(s.kind))
	return s.fails
}

func (s *starter) Shutdown(context.Context) error {
	s.diary.write("shut down " + string(s.kind))
	return nil
}

// TestStagesBeforeOneThatDoesNotStart ends the worker, with state or without. The stages that started before it are shut
// down in reverse, and nothing else is.
func TestStagesBeforeOneThatDoesNotStart(t *testing.T) {
	for name, stateful := range map[string]bool{"without state": false, "with state": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.publish("e", 3)
			d := &diary{}
			made := func(kind config.Kind, fails error) *starter {
				return &starter{testStage: testStage{stateful: stateful}, kind: kind, diary: d, fails: fails}
			}
			a, b := made(config.KindValidate, nil), made(config.KindEnrich, nil)
			c := made(config.KindAnalyze, errors.New("no cache"))
			e := r.run(&testStage{}, func(cfg *config.StageConfig, o *engine.Options) {
				o.Factory, o.Registry = a, stage.NewRegistry(a, b, c)
				cfg.Chain = []config.StageConfig{member("b", "validate/out", config.KindEnrich, ""), member("c", "b/out", config.KindAnalyze, "")}
			})
			select {
			case err := <-e.done:
				if err == nil || !strings.Contains(err.Error(), "start stage c: no cache") {
					t.Errorf("the worker ended with: %v", err)
				}
				e.done <- err
			case <-time.After(10 * time.Second):
				_, why := e.Ready()
				t.Fatal("the worker has not ended: " + why)
			}
			want := []string{"start validate", "start enrich", "start analyze", "shut down enrich", "shut down validate"}
			if !slices.Equal(d.lines, want) {
				t.Errorf("got %q, want %q", d.lines, want)
			}
		})
	}
}

// TestOneWedgedLaneIsSeen: the lanes that wait for a good reason do not hide one that does not go on.
func TestOneWedgedLaneIsSeen(t *testing.T) {
	r := newRig(t)
	r.lanes()
	release := make(chan struct{})
	s := &testStage{process: func(_ context.Context, b *stage.Batch) error {
		for i := range b.Events {
			if b.Events[i].ID == "stuck" {
				<-release
			} else {
				b.Retry(i, errors.New("not now"))
			}
		}
		return nil
	}}
	e := r.run(s, func(c *config.StageConfig, o *engine.Options) {
		withLanes(c, o)
		c.Retry = config.Retry{MaxAttempts: 1000, InitialBackoff: config.Duration(time.Second), MaxBackoff: config.Duration(time.Second)}
		c.DrainTimeout, o.WedgedAfter = config.Duration(100*time.Millisecond), 200*time.Millisecond
	})
	for lane, id := range []string{"stuck", "later", "later", "later"} {
		r.sendTo(lane, id)
	}
	eventually(t, 10*time.Second, func() string {
		if alive, _ := e.Alive(); alive {
			return "the wedged lane is not seen"
		}
		return ""
	})
	for range 100 {
		if alive, _ := e.Alive(); alive {
			t.Error("the wedged lane hides behind others")
			break
		}
	}
	close(release)
	_ = e.end()
}
