package chaos

import (
	"bytes"
	"context"
	"flag"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
)

// go test -run TestSoak ./test/chaos -args -soak 10m -rate 20000
var (
	soakFor  = flag.Duration("soak", 8*time.Second, "how long the load of TestSoak lasts")
	soakRate = flag.Int("rate", 5000, "events a second of TestSoak; 0 = half of what the machine can do, which is measured first")
)

// longestPause is how long a partition may stand still under a steady load.
const longestPause = 2 * time.Second

// TestSoak runs a steady load: nothing may be lost, doubled or stand still, and memory is
// reported. It is short unless -soak says otherwise (make soak).
func TestSoak(t *testing.T) {
	ctx := t.Context()
	r, err := rig.Start(ctx, rig.Options{
		Manifest: "../../config/samples/observability.yaml", Dir: t.TempDir(), Binary: harness.BuildBinary(t, harness.BuildOptions{}),
		Change: func(p *v1alpha1.Pipeline) { // a soak stores more than a disk may have
			p.Spec.Streams.MaxAge = &metav1.Duration{Duration: 2 * time.Minute}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	lines, err := newLoad()
	if err != nil {
		t.Fatal(err)
	}
	rate := *soakRate
	if rate == 0 {
		if rate, err = half(ctx, r, lines); err != nil {
			t.Fatal(err)
		}
		t.Logf("half load: %d events a second", rate)
	}
	s := &soak{rig: r, rate: rate, long: *soakFor, load: lines}
	before := counted(ctx, t, r)
	if err := s.run(ctx); err != nil {
		t.Fatal(err)
	}
	for stage, n := range counted(ctx, t, r) {
		if got := int(n - before[stage]); got != s.published {
			t.Errorf("%s processed %d events, %d were published", stage, got, s.published)
		}
	}
	if s.pauses.longest > longestPause {
		t.Errorf("a partition stood still for %s, at most %s are allowed", s.pauses.longest, longestPause)
	}
	var text bytes.Buffer
	if err := s.report(ctx, &text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", text.String())
}

// counted is how many events each stage has processed.
func counted(ctx context.Context, t *testing.T, r *rig.Rig) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	for _, w := range r.Running("") {
		metrics, err := w.Metrics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		counts[w.Stage()] += metrics.Sum("millrace_stage_events_total", "stage", w.Stage())
	}
	return counts
}

// half measures what the machine can do, and returns half of that.
func half(ctx context.Context, r *rig.Rig, lines *load) (int, error) {
	s := &soak{rig: r, rate: 1_000_000, long: 10 * time.Second, load: lines}
	began := time.Now()
	if err := s.run(ctx); err != nil {
		return 0, err
	}
	return int(float64(s.published)/time.Since(began).Seconds()) / 2, nil
}
