package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/engine"
	"millrace.dev/millrace/workers/stage"
)

// remembering is a stage whose insights have the first letter of an event as their id, and the whole of it as their body.
type remembering struct {
	testStage
	told [][]string // of each call of Recall
	lock sync.Mutex
}

func (*remembering) Stateful(*config.StageConfig) bool         { return true }
func (r *remembering) New(stage.Settings) (stage.Stage, error) { return r, nil }
func (*remembering) Horizon() time.Duration                    { return time.Nanosecond }
func (*remembering) Remembers() time.Duration                  { return time.Hour }

func (*remembering) Process(_ context.Context, b *stage.Batch) error {
	for i := range b.Events {
		id := strings.Clone(b.Events[i].ID)
		b.Produce(stage.NoParent, stage.Insights, &eventv1.Event{Id: id[:1], Source: "s", Type: "t", Body: id, Signal: &eventv1.Event_Insight{Insight: &eventv1.Insight{Title: id}}})
	}
	return nil
}

func (r *remembering) Recall(told []*eventv1.Event, _ time.Time) {
	bodies := []string{}
	for _, e := range told {
		bodies = append(bodies, e.GetInsight().GetTitle())
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.told = append(r.told, bodies)
}

func (r *remembering) calls() [][]string {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Clone(r.told)
}

// TestInsightsAreRecalled: the next worker of a lane is told the last revision of each insight, but for those that began
// beyond what is acknowledged: it makes these again.
func TestInsightsAreRecalled(t *testing.T) {
	r := newRig(t)
	f := &remembering{}
	start := func() *running {
		return r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
	}
	first := start()
	for _, prefix := range []string{"a", "b"} {
		r.publish(prefix, 2)
	}
	r.publish("a", 3)
	last := r.publish("c", 1)
	r.wantDrained(10 * time.Second)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.nc.Request("$JS.API.CONSUMER.RESET.IN.stage", []byte(`{"seq":8}`), 2*time.Second); err != nil { // that of c0
		t.Fatal(err)
	}
	second := start()
	r.wantDrained(10 * time.Second)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{}, {"a2", "b1"}}, f.calls()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if n := len(r.stored("INSIGHTS")); n != 8 {
		t.Errorf("%d insights of %d events, the last of them twice (%s), want 8", n, 8, last)
	}
}

// TestInsightsThatMayNotBeRead: a user with the rights of an older release goes on.
func TestInsightsThatMayNotBeRead(t *testing.T) {
	r := newRig(t, withUsers(&server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.DIRECT.GET.INSIGHTS"}}}))
	f := &remembering{}
	for range 2 {
		e := r.run(&testStage{}, func(_ *config.StageConfig, o *engine.Options) { o.Factory = f })
		r.publish("a", 2)
		r.wantDrained(30 * time.Second)
		if err := e.end(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.stored("INSIGHTS")); n != 4 {
		t.Errorf("%d insights of 4 events", n)
	}
}
