package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// fragile is a stage with state that emits the running number of each event, and panics on some.
type fragile struct{ poison []string }

func (fragile) Kind() config.Kind                         { return config.KindValidate }
func (fragile) Stateful(*config.StageConfig) bool         { return true }
func (f fragile) New(stage.Settings) (stage.Stage, error) { return &fragileStage{f: f}, nil }

type fragileStage struct {
	f fragile
	n int
}

func (*fragileStage) Start(context.Context) error    { return nil }
func (*fragileStage) Shutdown(context.Context) error { return nil }
func (*fragileStage) Horizon() time.Duration         { return time.Hour }
func (s *fragileStage) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		s.n++ // the state has half of it
		if slices.Contains(s.f.poison, b.Events[i].ID) {
			panic("poison")
		}
		b.Filter(i)
		b.Produce(stage.NoParent, stage.Out, &eventv1.Event{Id: fmt.Sprintf("%s=%d", b.Events[i].ID, s.n), Source: "s", Type: "t"})
	}
	return nil
}

// TestStateAfterAPanic: a stage with state panics on events in the middle of messages. They are dead letters, and every other
// event is in the state once, also in that of the next worker.
func TestStateAfterAPanic(t *testing.T) {
	r := newRig(t)
	f := fragile{poison: []string{"b1.5", "b1.6", "b2.0"}}
	var want []string
	n := 0
	publish := func(prefix string) {
		for _, id := range r.publishFrames(prefix, 4, 10) {
			if !slices.Contains(f.poison, id) {
				n++
				want = append(want, fmt.Sprintf("%s=%d", id, n))
			}
		}
	}
	for _, prefix := range []string{"a", "b", "c"} {
		publish(prefix)
		e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
		r.wantDrained(30 * time.Second)
		if err := e.end(); err != nil {
			t.Fatal(err)
		}
	}
	r.wantOnce("OUT", want)
	r.wantOnce("DEAD", f.poison)
}

// TestPanicsWithoutEnd: a stage that panics on everything costs a few rebuilds, and then dead letters.
func TestPanicsWithoutEnd(t *testing.T) {
	r := newRig(t)
	ids := r.publishFrames("f", 2, 20)
	e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = fragile{poison: ids} })
	r.wantDrained(30 * time.Second)
	if err := e.end(); err != nil {
		t.Fatal(err)
	}
	r.wantOnce("DEAD", ids)
	if diff := cmp.Diff(0, len(r.stored("OUT"))); diff != "" {
		t.Error(diff)
	}
}
