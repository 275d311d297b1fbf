package sinks

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/event"
)

var (
	seeds     = flag.Int("seeds", 1, "how often each target is tried, with other faults each time")
	backlog   = flag.Int("events", 40_000, "events of one trial")
	maxFaults = flag.Int("faults", 8, "faults of one trial at most")
	onlySeed  = flag.Uint64("seed", 0, "this seed alone")
)

// target is what a sink is tried with.
type target interface {
	// spec is the sink that the manifest has; files with secrets are below dir.
	spec(t *testing.T, dir string) *v1alpha1.SinkSpec
	// fault has the target fail in some way, and work again.
	fault(ctx context.Context, lot *rand.Rand) error
	// stored are the ids of the events that it has.
	stored(t *testing.T) []string
	// refuses says whether it refuses event n.
	refuses(n int) bool
}

// refusedEvery is how often an event is such that a target may refuse it.
const refusedEvery = 997

// TestNothingIsLostOrDoubled counts what is stored after all that may befall workers and targets.
func TestNothingIsLostOrDoubled(t *testing.T) {
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	for name, make := range targets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= uint64(*seeds); seed++ {
				if *onlySeed == 0 || *onlySeed == seed {
					t.Run(fmt.Sprint(seed), func(t *testing.T) { try(t, binary, make(t), seed) })
				}
			}
		})
	}
}

func try(t *testing.T, binary string, to target, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	secrets := t.TempDir()
	r := start(t, binary, to.spec(t, secrets), secrets)
	publish(t, r, *backlog)
	lot := rand.New(rand.NewPCG(seed, 7))
	drained := make(chan error, 1)
	packIntoFrames(ctx, t, r)
	for range 2 {
		if _, err := r.StartWorker("archive"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	go func() { drained <- r.WaitDrained(ctx) }()
	faults, done := 0, false
	for last := uint64(0); !done; {
		select {
		case err := <-drained:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-time.After(time.Duration(lot.IntN(60)) * time.Millisecond):
			// The next fault meets workers that work.
			at := acknowledged(ctx, r)
			if at == last || faults >= *maxFaults {
				continue
			}
			last = at
			faults++
			if err := befall(ctx, r, to, lot); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d events, %d faults, %s", *backlog, faults, time.Since(began).Round(time.Millisecond))
	account(t, r, to)
}

// packIntoFrames has a stage before the sink take the backlog, so that the sink reads frames as most sinks do.
func packIntoFrames(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	first, err := r.StartWorker("first")
	if err != nil {
		t.Fatal(err)
	}
	for {
		drained, err := r.StageDrained(ctx, "first")
		if err != nil {
			t.Fatal(err)
		}
		if drained {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := first.Term(20 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// acknowledged sums up how far the lanes have come.
func acknowledged(ctx context.Context, r *rig.Rig) (sum uint64) {
	for _, c := range r.Stage("archive").Consumers {
		if consumer, err := r.JetStream().Consumer(ctx, c.Stream, c.Durable); err == nil {
			sum += consumer.CachedInfo().AckFloor.Stream
		}
	}
	return sum
}

// befall has one of the workers die, or the target fail, or both at once. The lanes of a worker that is killed rest for six seconds.
func befall(ctx context.Context, r *rig.Rig, to target, lot *rand.Rand) error {
	which := lot.IntN(4)
	if which <= 1 {
		running := r.Running("archive")
		running[lot.IntN(len(running))].Kill9()
	}
	if which >= 1 {
		if err := to.fault(ctx, lot); err != nil {
			return err
		}
	}
	if len(r.Running("archive")) < 2 {
		_, err := r.StartWorker("archive")
		return err
	}
	return nil
}

// start makes a pipeline that ends in the sink, with four lanes.
func start(t *testing.T, binary string, spec *v1alpha1.SinkSpec, secrets string) *rig.Rig {
	t.Helper()
	return rigtest.Start(t.Context(), t, rig.Options{
		Binary: binary, Dir: filepath.Join(t.TempDir(), "rig"), WorkerArgs: []string{"--secret-files", secrets},
		Pipeline: &v1alpha1.Pipeline{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
			Spec: v1alpha1.PipelineSpec{
				Partitions: 4, Ingress: v1alpha1.IngressSpec{PartitionBy: v1alpha1.PartitionBySubject},
				Stages: []v1alpha1.PipelineStage{
					{Name: "first", StageNode: v1alpha1.StageNode{From: []string{"ingress"}, Validate: &v1alpha1.ValidateSpec{}}},
					{Name: "archive", StageNode: v1alpha1.StageNode{From: []string{"first"}, Sink: spec}},
				},
			},
		},
	})
}

// linesPerMessage is how many events one message has.
const linesPerMessage = 50

// publish stores n events in the ingress, on 16 subjects.
func publish(t *testing.T, r *rig.Rig, n int) {
	t.Helper()
	js := r.JetStream()
	for from := 0; from < n; from += linesPerMessage {
		var lines strings.Builder
		for i := from; i < min(from+linesPerMessage, n); i++ {
			subject := "good"
			if i%refusedEvery == 0 {
				subject = "bad"
			}
			fmt.Fprintf(&lines, `{"id":"%d","source":"test","type":"app.log","subject":"%s","severitynumber":9,"time":"2026-03-01T12:00:00Z","body":"event %d of a trial"}`+"\n", i, subject, i)
		}
		m := nats.NewMsg("default.p.raw.s" + strconv.Itoa(from/linesPerMessage%16))
		m.Header.Set("Content-Type", "application/x-ndjson")
		m.Data = []byte(lines.String())
		if _, err := js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the backlog is not stored")
	}
}

// account compares what is in the target and in the dead letters with what was published.
func account(t *testing.T, r *rig.Rig, to target) {
	t.Helper()
	has := map[string]int{}
	for _, id := range to.stored(t) {
		has[id]++
	}
	dead := deadLetters(t, r)
	var lost, doubled, misplaced []string
	for i := range *backlog {
		id := strconv.Itoa(i)
		switch n := has[id] + dead[id]; {
		case n == 0:
			lost = append(lost, id)
		case n > 1:
			doubled = append(doubled, id)
		case to.refuses(i) != (dead[id] == 1):
			misplaced = append(misplaced, id)
		}
		delete(has, id)
		delete(dead, id)
	}
	if len(lost)+len(doubled)+len(misplaced)+len(has)+len(dead) > 0 {
		t.Errorf("lost %d %v, doubled %d %v, refused though good, or taken though bad: %d %v, never published: %d", len(lost), few(lost),
			len(doubled), few(doubled), len(misplaced), few(misplaced), len(has)+len(dead))
	}
}

func few(ids []string) []string { return ids[:min(len(ids), 5)] }

// deadLetters are the ids of the dead letters, and how often each is there.
func deadLetters(t *testing.T, r *rig.Rig) map[string]int {
	t.Helper()
	ids := map[string]int{}
	rigtest.Stored(t.Context(), t, r, r.Output("archive", "dead-letter").Stream, ">", func(m jetstream.Msg, e *event.Event) {
		if m.Headers().Get("Millrace-Error") == "" {
			t.Errorf("a dead letter has no answer of the target: %v", m.Headers())
		}
		ids[strings.Clone(e.ID)]++
	})
	return ids
}

// idOf finds the id in the JSON of an event.
func idOf(t *testing.T, line []byte) string {
	t.Helper()
	_, rest, ok := bytes.Cut(line, []byte(`"id":"`))
	id, _, closed := bytes.Cut(rest, []byte(`"`))
	if !ok || !closed {
		t.Fatalf("no event: %s", line)
	}
	return string(id)
}

func writeSecret(t *testing.T, dir, name, key, value string) v1alpha1.SecretKeySelector {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, key), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	return v1alpha1.SecretKeySelector{Name: name, Key: key}
}
