package joins

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
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

var (
	seeds    = flag.Int("seeds", 1, "how many trials")
	onlySeed = flag.Uint64("seed", 0, "this seed alone")
	events   = flag.Int("events", 10_000, "events of one trial")
	kills    = flag.Int("kills", 8, "workers that are killed in one trial")
)

// manifest is the pipeline: two branches, of which one ends nearly all events.
var manifest = filepath.Join("testdata", "fork.yaml")

// TestEachBarrierEndsOnce: the deadline is longer than the test, so a barrier that waits for it is not there at the end.
func TestEachBarrierEndsOnce(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		if *onlySeed == 0 || *onlySeed == seed {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { try(t, binary, seed) })
		}
	}
}

func try(t *testing.T, binary string, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := rigtest.StartRestricted(ctx, t, "default.fork", rig.Options{Manifest: manifest, Dir: t.TempDir(), Binary: binary})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	lot := rand.New(rand.NewPCG(seed, 22))
	done := make(chan error, 1)
	go func() { done <- befall(ctx, r, lot) }()
	publish(ctx, t, r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	last := time.Now()
	account(ctx, t, r)
	rigtest.CheckRights(t, r.Server())
	t.Logf("all barriers have ended %s after the last kill", time.Since(last).Round(time.Millisecond))
}

// publish publishes events over a while, one in a message and many.
func publish(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	for i := range *events {
		body := fmt.Sprintf(`{"id":"%d","source":"joins","type":"demo.joins","subject":"s%d","attributes":{"n":%d}}`, i, i%97, i)
		if _, err := r.JetStream().PublishAsync("default.fork.raw.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal(ctx.Err())
			}
		}
	}
	select {
	case <-r.JetStream().PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}

// befall kills workers of any stage, and starts others in their place.
func befall(ctx context.Context, r *rig.Rig, lot *rand.Rand) error {
	stages := []string{"check", "all", "few", "together", "together"}
	for range *kills {
		select {
		case <-time.After(time.Duration(200+lot.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		stage := stages[lot.IntN(len(stages))]
		for _, w := range r.Running(stage) {
			w.Kill9()
		}
		if _, err := r.StartWorker(stage); err != nil {
			return err
		}
	}
	return nil
}

// account waits until each event has come out, and holds what came out against what each branch had to say.
func account(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	var got map[string][]string
	for {
		if got = results(ctx, t, r); len(got) >= *events {
			break
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d of %d barriers have ended", len(got), *events)
		}
	}
	time.Sleep(time.Second) // for what would come twice
	got = results(ctx, t, r)
	wrong := 0
	for i := range *events {
		want := "silent answered=all silent=few"
		if i%50 == 0 {
			want = "complete answered=all,few silent="
		}
		if results := got[fmt.Sprint(i)]; len(results) != 1 || results[0] != want {
			if wrong++; wrong <= 10 {
				t.Errorf("event %d: %q, want %q", i, results, want)
			}
		}
	}
	if wrong > 0 || len(got) != *events {
		t.Errorf("%d of %d barriers ended in another way than they should, and there are results of %d keys", wrong, *events, len(got))
	}
}

// results are what has come out, by id.
func results(ctx context.Context, t *testing.T, r *rig.Rig) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	rigtest.Stored(ctx, t, r, r.Output("together", "out").Stream, ">", func(_ jetstream.Msg, e *event.Event) {
		text := func(key string) string {
			v, _ := e.Attribute("join." + key)
			return strings.Clone(v.Text())
		}
		id := strings.Clone(e.ID)
		got[id] = append(got[id], text("result")+" answered="+text("answered")+" silent="+text("silent"))
	})
	return got
}
