package chaos

import (
	"bytes"
	"context"
	"flag"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
)

func TestFaults(t *testing.T) {
	_ = flag.CommandLine
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w := newWorld(ctx, t)
	f := fault{name: "kill enrich", events: 20000, rate: 2000, inject: killOne("enrich")}
	tally, err := w.run(ctx, &f, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tally.problems {
		t.Log(p)
	}
	tally.problems = nil
	t.Logf("%+v", tally)
}

func newWorld(ctx context.Context, t *testing.T) *world {
	t.Helper()
	r, err := rig.Start(ctx, rig.Options{
		Manifest: "../../config/samples/observability.yaml", Dir: t.TempDir(),
		Binary: harness.BuildBinary(t, harness.BuildOptions{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var logs bytes.Buffer
			r.Logs(&logs, 4000)
			t.Log(logs.String())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := newLedger(r)
	if err != nil {
		t.Fatal(err)
	}
	return &world{Rig: r, ledger: l, log: t.Logf}
}
