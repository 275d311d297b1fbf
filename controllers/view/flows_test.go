package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace.dev/millrace/controllers/internal/jetstream"
	"millrace.dev/millrace/controllers/plan"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/config/connect"
)

// TestFlowOfRealWorkers watches a pipeline whose workers are processes, with the rights of a viewer: what flows, what waits when one is killed, and that nothing is
// asked when nobody looks.
func TestFlowOfRealWorkers(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r := rigtest.StartRestricted(ctx, t, "default.observability", rig.Options{
		Manifest: "../../config/samples/observability.yaml", Dir: t.TempDir(), Binary: binary,
	})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	pool := jetstream.NewPool(jetstream.PoolOptions{
		Inbox: plan.ViewerInbox, Deaf: true, Patience: 10 * time.Second, RequestTimeout: 10 * time.Second,
		Requested: func(string, string, time.Duration) { requests.Add(1) },
	})
	defer pool.Close()
	client, err := pool.Client(jetstream.Server{URL: r.URL(), Material: connect.Material{User: plan.RoleViewer, Password: rigtest.Password(plan.RoleViewer)}})
	if err != nil {
		t.Fatal(err)
	}
	layout := LayoutOf(r.Plan())
	of := layout.Name
	s := newFlows(func(_ context.Context, name Name) (*subject, error) {
		if name != of {
			return nil, fmt.Errorf("pipeline %s: %w", name, ErrNotFound)
		}
		return &subject{layout: layout, client: client}, nil
	}, time.Now)

	if err := s.watch(ctx, Name{"default", "absent"}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a pipeline that does not exist: %v", err)
	}

	feeding, stop := context.WithCancel(ctx)
	fed := make(chan error, 1)
	go func() { fed <- feed(feeding, r) }()
	graph := GraphOf(layout)
	edge := func(f *Flow, from, port, to string) *EdgeFlow {
		for i, e := range graph.Edges {
			if e.From == from && e.Port == port && e.To == to {
				return &f.Edges[i]
			}
		}
		t.Fatalf("no edge %s/%s > %s in %+v", from, port, to, graph.Edges)
		return nil
	}
	stage := func(f *Flow, name string) *StageFlow {
		for i := range f.Stages {
			if f.Stages[i].Stage == name {
				return &f.Stages[i]
			}
		}
		t.Fatalf("no stage %s", name)
		return nil
	}
	wait := func(what string, ok func(*Flow) bool) {
		t.Helper()
		var last *Flow
		done := errors.New("done")
		err := s.watch(ctx, of, func(f *Flow) error {
			if last = f; ok(f) {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			t.Fatalf("%s: %v; the last reading was %s", what, err, describe(last))
		}
	}

	wait("rates, latency and workers of a pipeline at work", func(f *Flow) bool {
		in, out, dead := edge(f, "ingress", "", "validate"), edge(f, "validate", "out", "enrich"), edge(f, "validate", "dead-letter", "")
		v, e := stage(f, "validate"), stage(f, "enrich")
		// 200 events/s come in, one of ten is refused.
		return within(in.Events, 50, 300) && within(out.Events, 45, 280) && within(dead.Events, 4, 40) && within(v.DeadLetters, 4, 40) &&
			within(v.Processed, 40, 400) && v.P50 != nil && v.P99 != nil && *v.P50 > 0 && *v.P50 <= *v.P99 && e.P50 != nil &&
			v.Workers != nil && *v.Workers == 1 && e.Workers != nil && *e.Workers == 1 && in.Lag != nil && in.Bytes != nil && len(f.Problems) == 0 &&
			f.Graph == graph.Revision && v.Health == HealthFailing && strings.Contains(v.Why, "dead letters") && e.Health == HealthOK
	})

	r.Running("enrich")[0].Kill9()
	wait("a stage without workers", func(f *Flow) bool {
		in, e := edge(f, "validate", "out", "enrich"), stage(f, "enrich")
		return in.Lag != nil && *in.Lag > 500 && in.OldestAge != nil && *in.OldestAge > Seconds(5*time.Second) &&
			e.Workers != nil && *e.Workers == 0 && e.Health == HealthStuck && strings.Contains(e.Why, "no worker runs")
	})
	if _, err := r.StartWorker("enrich"); err != nil {
		t.Fatal(err)
	}
	wait("a stage that has caught up", func(f *Flow) bool {
		in, e := edge(f, "validate", "out", "enrich"), stage(f, "enrich")
		return in.Lag != nil && *in.Lag < 200 && e.Workers != nil && *e.Workers == 1 && e.Health == HealthOK
	})
	stop()
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	wait("a pipeline at rest", func(f *Flow) bool {
		for i, e := range graph.Edges {
			if e.To != "" && (f.Edges[i].Lag == nil || *f.Edges[i].Lag != 0) {
				return false
			}
		}
		return within(edge(f, "ingress", "", "validate").Events, 0, 0)
	})

	if past := s.past(of); len(past) < 5 || !past[0].At.Before(past[len(past)-1].At) {
		t.Errorf("the history has %d readings", len(past))
	}
	w := s.all[of]
	<-w.done // the goroutine that reads
	before := requests.Load()
	time.Sleep(2 * FlowInterval)
	if asked := requests.Load() - before; asked != 0 {
		t.Errorf("%d requests while nobody watches", asked)
	}
	rigtest.CheckRights(t, r.Server())
}

func describe(f *Flow) string {
	b, err := json.Marshal(f)
	return fmt.Sprint(string(b), err)
}

func within(got *float64, low, high float64) bool { return got != nil && *got >= low && *got <= high }

// feed publishes 200 events a second in messages of ten, of which one event has no id, until ctx ends.
func feed(ctx context.Context, r *rig.Rig) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		var b strings.Builder
		for k := range 10 {
			id := fmt.Sprintf("%d-%d", i, k)
			if k == 9 {
				id = ""
			}
			fmt.Fprintf(&b, `{"id":"%s","source":"flow","type":"demo.hello","time":"2026-01-01T00:00:00Z"}`+"\n", id)
		}
		if _, err := r.JetStream().Publish(ctx, "events.raw.flow", []byte(b.String())); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
