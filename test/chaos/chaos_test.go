package chaos

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/rig"
)

// go test ./test/chaos -args -all -fault zombie -seed 131
var (
	all       = flag.Bool("all", false, "run all faults with all seeds, and not a few of them")
	onlyFault = flag.String("fault", "", "run faults whose name contains this alone")
	onlySeed  = flag.Uint64("seed", 0, "run this seed alone; a fault that does not have it is run with it when -fault names it")
	keep      = flag.String("keep", "", "folder for logs and stores; default: a temporary one")
)

// runsPerRig bounds what a rig has stored: a stateful stage reads it all again at a takeover.
const runsPerRig = 10

// TestFaults breaks a running pipeline in every way that the table knows, and counts.
func TestFaults(t *testing.T) {
	table := short()
	if *all {
		table = faults()
	}
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	var rows []row
	var w *world
	used := 0
	for _, f := range table {
		if !strings.Contains(f.name, *onlyFault) {
			continue
		}
		for _, seed := range seedsOf(&f) {
			if w == nil || used == runsPerRig {
				if w != nil {
					end(t, w)
				}
				w, used = begin(t, binary), 0
			}
			used++
			got, err := w.run(t.Context(), &f, seed)
			if err != nil {
				t.Errorf("%s, seed %d: %v", f.name, seed, err)
				logs(t, w)
				end(t, w)
				w = nil
				continue
			}
			r := row{f.name, seed, *got}
			rows = append(rows, r)
			if f.calm > 0 && got.pause > f.calm {
				t.Errorf("%s, seed %d: a partition stood still for %s, at most %s are allowed", f.name, seed, got.pause, f.calm)
			}
			if r.ok() {
				t.Logf("%s, seed %d: %d events in %s: ok", f.name, seed, got.in, got.took.Round(time.Millisecond))
				continue
			}
			t.Errorf("%s, seed %d: lost %d, doubled %d, disordered %d\n%s\nand %d more", f.name, seed, got.lost, got.doubled, got.disorder, strings.Join(got.problems, "\n"), got.more)
			logs(t, w)
			end(t, w)
			w = nil
		}
	}
	if w != nil {
		end(t, w)
	}
	var text bytes.Buffer
	if err := report(&text, rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", text.String())
}

func seedsOf(f *fault) []uint64 {
	if *onlySeed == 0 {
		return f.seeds
	}
	for _, s := range f.seeds {
		if s == *onlySeed {
			return []uint64{s}
		}
	}
	if *onlyFault != "" {
		return []uint64{*onlySeed}
	}
	return nil
}

func begin(t *testing.T, binary string) *world {
	t.Helper()
	dir := folder(t)
	r, err := rig.Start(t.Context(), rig.Options{
		Manifest: "../../config/samples/observability.yaml", Dir: dir, Binary: binary,
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(r)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// folder is where logs and stores are.
func folder(t *testing.T) string {
	t.Helper()
	if *keep == "" {
		return filepath.Join(t.TempDir(), "rig")
	}
	if err := os.MkdirAll(*keep, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(*keep, "rig-") //nolint:usetesting // it is kept
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func end(t *testing.T, w *world) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func logs(t *testing.T, w *world) {
	t.Helper()
	if *keep != "" {
		t.Logf("logs: %s", w.Dir())
		return
	}
	var b bytes.Buffer
	w.Logs(&b, 1500)
	t.Log(b.String())
}
