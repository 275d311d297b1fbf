package rig_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/event"
)

// again is a pipeline with a Stage that processes again what was stored between two times.
const again = `
apiVersion: millrace.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  partitions: 4
  stages:
  - name: check
    from: [ingress]
    validate: {}
  - name: clean
    from: [check]
    validate: {dedupe: {window: 1m}}
---
apiVersion: millrace.dev/v1alpha1
kind: Stage
metadata: {name: again}
spec:
  pipelineRef: {name: shop}
  startTime: %s
  endTime: %s
  from: [check]
  validate: {dedupe: {window: 1m}}
`

// TestAStageProcessesAgainWhatWasStoredBetween: its workers are killed in the middle, over and over. Each event between the bounds is in its
// output once, no other is, and the stage that runs has stored nothing twice.
func TestAStageProcessesAgainWhatWasStoredBetween(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	binary := harness.BuildBinary(t, harness.BuildOptions{}) // which takes a while
	start := time.Now().Add(15 * time.Second).UTC().Truncate(time.Second)
	end := start.Add(8 * time.Second)
	path := filepath.Join(t.TempDir(), "again.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, again, start.Format(time.RFC3339), end.Format(time.RFC3339)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rigtest.StartRestricted(ctx, t, "default.shop", rig.Options{Manifest: path, Dir: t.TempDir(), Binary: binary})
	for _, stage := range []string{"check", "clean", "again"} {
		if _, err := r.StartWorker(stage); err != nil {
			t.Fatal(err)
		}
	}
	killed := make(chan error, 1)
	go func() { killed <- killOver(ctx, r, "again", start, end) }()
	published := publishUntil(ctx, t, r, end.Add(3*time.Second))
	if err := <-killed; err != nil {
		t.Fatal(err)
	}

	// What is wanted is what stage check has stored between the bounds: a few events may have waited there across one of them.
	always := func(time.Time) bool { return true }
	for _, stage := range []string{"check", "clean"} {
		for deadline := time.Now().Add(time.Minute); len(idsOf(ctx, t, r, stage, always)) < published; time.Sleep(200 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("stage %s has %d of %d events", stage, len(idsOf(ctx, t, r, stage, always)), published)
			}
		}
	}
	all := idsOf(ctx, t, r, "check", always)
	want := idsOf(ctx, t, r, "check", func(stored time.Time) bool { return !stored.Before(start) && stored.Before(end) })
	if len(want) < 100 || len(want) > published-100 {
		t.Fatalf("%d of %d events lie between the bounds: the test shows nothing", len(want), published)
	}
	for deadline := time.Now().Add(time.Minute); len(idsOf(ctx, t, r, "again", always)) < len(want); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the replay has stored %d of %d events", len(idsOf(ctx, t, r, "again", always)), len(want))
		}
	}
	time.Sleep(time.Second) // for what would come twice
	same(t, "the replay", idsOf(ctx, t, r, "again", always), want)
	same(t, "the stage that runs", idsOf(ctx, t, r, "clean", always), all)
	rigtest.CheckRights(t, r.Server())
}

// killOver kills the worker of a stage every 2 s between two times, and starts another one in its place.
func killOver(ctx context.Context, r *rig.Rig, stage string, start, end time.Time) error {
	for next := start.Add(time.Second); next.Before(end); next = next.Add(2 * time.Second) {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, w := range r.Running(stage) {
			w.Kill9()
		}
		if _, err := r.StartWorker(stage); err != nil {
			return err
		}
	}
	return nil
}

// publishUntil publishes 200 events a second until a time, and returns how many.
func publishUntil(ctx context.Context, t *testing.T, r *rig.Rig, end time.Time) (n int) {
	t.Helper()
	for ; time.Now().Before(end); n++ {
		if _, err := r.JetStream().PublishAsync("default.shop.raw.x", fmt.Appendf(nil, `{"id":"%d","source":"again","type":"demo","subject":"s%d"}`, n, n%31)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case <-r.JetStream().PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	return n
}

// idsOf counts the events of the port out of a stage that were stored at chosen times, by id.
func idsOf(ctx context.Context, t *testing.T, r *rig.Rig, stage string, chosen func(stored time.Time) bool) map[string]int {
	t.Helper()
	ids := map[string]int{}
	rigtest.Stored(ctx, t, r, r.Output(stage, "out").Stream, ">", func(m jetstream.Msg, e *event.Event) {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if chosen(meta.Timestamp) {
			ids[strings.Clone(e.ID)]++
		}
	})
	return ids
}

func same(t *testing.T, who string, got, want map[string]int) {
	t.Helper()
	wrong := 0
	for id, n := range got {
		if want[id] != n {
			wrong++
		}
	}
	for id := range want {
		if got[id] == 0 {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%s has %d events, want %d; %d are missing, too many, or there more than once", who, len(got), len(want), wrong)
	}
}
