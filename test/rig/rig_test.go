package rig_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
)

// TestLife runs the sample on real processes, kills what can be killed, and counts.
func TestLife(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := rigtest.Start(ctx, t, rig.Options{
		Manifest: "../../config/samples/observability.yaml", Dir: t.TempDir(),
		Binary: harness.BuildBinary(t, harness.BuildOptions{}),
	})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, r, 0, 100)
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}

	r.Running("enrich")[0].Kill9()
	r.KillNATS()
	if err := r.RestartNATS(ctx); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, r, 100, 200)
	if drained, err := r.Drained(ctx); drained || err != nil {
		t.Errorf("drained without a worker: %v, %v", drained, err)
	}
	again, err := r.StartWorker("enrich")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := again.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := again.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitDrained(ctx); err != nil {
		t.Fatal(err)
	}
	metrics, err := again.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := metrics.Sum("millrace_stage_events_total", "outcome", "emitted"); got < 100 {
		t.Errorf("the new worker emitted %v events, want 100 or more", got)
	}
	for _, w := range r.Running("") {
		if code, err := w.Term(30 * time.Second); code != 0 || err != nil {
			t.Errorf("%s: exit code %d, %v", w.Name(), code, err)
		}
	}
}

// publish publishes the events from up to but not including to.
func publish(ctx context.Context, t *testing.T, r *rig.Rig, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		event := fmt.Sprintf(`{"id":"%d","source":"rig","type":"demo.hello","time":"2026-01-01T00:00:00Z"}`, i)
		if _, err := r.JetStream().Publish(ctx, "events.raw.rig", []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
}
