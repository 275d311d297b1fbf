package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/api/v1alpha1"
	"millrace.dev/millrace/test/harness"
	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/rig"
	"millrace.dev/millrace/test/rig/rigtest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event/frame"
)

// TestEveryKindHasAColumn: who adds a kind adds a stage of it to the manifest.
func TestEveryKindHasAColumn(t *testing.T) {
	for _, traits := range config.Kinds() {
		if !slices.ContainsFunc(columns(), func(c *column) bool { return c.kind == traits.Kind }) {
			t.Errorf("no column is of kind %s", traits.Kind)
		}
	}
}

// atTheEnd is when everything was published, and all is counted once more.
const atTheEnd = "at the end"

// kindsRow is one run in the table of kinds.
type kindsRow struct {
	fault   string
	seed    uint64
	took    time.Duration
	tallies map[string]*tally
}

// TestKinds breaks a pipeline with a stage of every kind, and counts what becomes of each event on each port.
func TestKinds(t *testing.T) {
	table, seeds := shortKindsFaults(), []uint64{500}
	if *all {
		table, seeds = kindsFaults(), kindsSeeds()
	}
	if *onlySeed != 0 && !slices.Contains(seeds, *onlySeed) && *onlyFault == "" {
		t.Logf("%d is no seed of the kinds", *onlySeed)
		return
	}
	if *onlySeed != 0 {
		seeds = []uint64{*onlySeed}
	}
	table = slices.DeleteFunc(table, func(f kindsFault) bool { return !strings.Contains(f.name, *onlyFault) })
	if len(table) == 0 {
		t.Logf("no fault of the kinds has %q in its name", *onlyFault)
		return
	}
	binary := harness.BuildBinary(t, harness.BuildOptions{})
	var rows []kindsRow
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { rows = append(rows, breakKinds(t, binary, table, seed)...) })
	}
	var text bytes.Buffer
	if err := reportKinds(&text, rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", text.String())
}

// breakKinds has a rig go through all faults. Then it removes, repeats and moves some events by hand, and the ledger has to see that.
func breakKinds(t *testing.T, binary string, table []kindsFault, seed uint64) (rows []kindsRow) {
	t.Helper()
	k := startKinds(t, binary, seed)
	for i := range table {
		f, began := &table[i], time.Now()
		tallies, err := k.run(t.Context(), f, *all && i == len(table)-1)
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		rows = append(rows, kindsRow{f.name, seed, time.Since(began), tallies})
		failUnlessZero(t, f.name, tallies)
	}
	if t.Failed() {
		return rows
	}
	l, err := k.readKinds(t.Context())
	for deadline := time.Now().Add(30 * time.Second); err == nil && len(l.compared.reports) < 2 && time.Now().Before(deadline); { // one is taken away below
		time.Sleep(time.Second)
		l, err = k.readKinds(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	failUnlessZero(t, atTheEnd, k.balance(l, k.segments, time.Time{}, *all)) // nothing came late, and again
	for _, w := range k.Running("") {
		w.Kill9()
	}
	k.tamper(t)
	if l, err = k.readKinds(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, got := range k.balance(l, k.segments, time.Time{}, *all) {
		ordered := name != "join" && name != "compare"
		if got.lost == 0 || got.doubled == 0 || ordered != (got.disorder > 0) {
			t.Errorf("%s: events were removed, repeated, and moved, and the ledger sees lost %d, doubled %d, disordered %d", name, got.lost, got.doubled, got.disorder)
		}
	}
	return rows
}

// startKinds starts a worker for each stage, and the targets of the sinks.
func startKinds(t *testing.T, binary string, seed uint64) *kinds {
	t.Helper()
	dir := folder(t)
	k := &kinds{
		columns: columns(), edition: map[string]int{}, filed: filepath.Join(dir, "events.ndjson"), archive: harness.StartNATS(t, natsserver.Options{}),
	}
	k.archiveJS = harness.JetStream(t, k.archive)
	archive := jetstream.StreamConfig{Name: "ARCHIVE", Subjects: []string{"archive.>"}}
	if _, err := k.archiveJS.CreateStream(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	k.world = &world{r: rand.New(rand.NewPCG(seed, 3))}
	k.Rig = rigtest.Start(t.Context(), t, rig.Options{
		Binary: binary, Manifest: kindsManifest, Dir: filepath.Join(dir, "rig"), Change: func(p *v1alpha1.Pipeline) {
			for i := range p.Spec.Stages {
				switch s := &p.Spec.Stages[i]; s.Name {
				case "filed":
					s.Sink.File.Path = k.filed
				case "sent":
					s.Sink.NATS.URL = k.archive.URL()
				}
			}
			k.pipeline = p.DeepCopy()
		},
	})
	err := errors.Join(k.StartAll(t.Context()), k.comes())
	t.Cleanup(func() { k.responder.Close() })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func failUnlessZero(t *testing.T, when string, tallies map[string]*tally) {
	t.Helper()
	for name, got := range tallies {
		if got.lost+got.doubled+got.disorder+len(got.problems) > 0 {
			t.Errorf("%s, %s: lost %d, doubled %d, disordered %d\n%s\nand %d more", when, name, got.lost, got.doubled, got.disorder, strings.Join(got.problems, "\n"), got.more)
		}
		if got.in == 0 && (name != "compare" || when == atTheEnd) { // a run may be over before compare reports
			t.Errorf("%s, %s: nothing was counted", when, name)
		}
	}
}

// tamper removes the first message of each stage, stores the second one again, and moves the third one to the end.
func (k *kinds) tamper(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, c := range k.columns {
		outputs := k.Stage(c.stage).Config.Outputs
		if stream := streamOf(outputs); stream != "" {
			tamperStream(ctx, t, k.JetStream(), stream, func(m jetstream.Msg) bool {
				port := portOf(outputs, stream, m.Subject())
				return port != config.PortOverflow && m.Headers().Get(frame.HeaderEvents) != "0"
			})
		}
	}
	tamperStream(ctx, t, k.archiveJS, "ARCHIVE", func(jetstream.Msg) bool { return true })
	finished, err := filepath.Glob(strings.TrimSuffix(k.filed, ".ndjson") + "*-000001.ndjson")
	if err != nil || len(finished) == 0 {
		t.Fatalf("no file is finished: %v", err)
	}
	text, err := os.ReadFile(finished[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(text)))
	lines = slices.Concat(lines[1:2], lines[3:], lines[1:3])
	if err := os.WriteFile(finished[0], []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tamperStream does it to messages of a stream that count. Of reports there may be less than three.
func tamperStream(ctx context.Context, t *testing.T, js jetstream.JetStream, stream string, counts func(jetstream.Msg) bool) {
	t.Helper()
	var found []uint64
	if _, err := readFrom(ctx, js, stream, 0, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if counts(m) {
			found = append(found, meta.Sequence.Stream)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	// In ten places: around a change of rules or weights an event may be as another edition has it, and a single one that is missing proves nothing.
	for at := 0; at == 0 || at+3 <= len(found); at += max(3, len(found)/10) {
		for i, sequence := range found[at:min(at+3, len(found))] {
			m, err := s.GetMsg(ctx, sequence)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				err = again(ctx, js, m)
			}
			if err == nil && i != 1 {
				err = s.DeleteMsg(ctx, sequence)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// reportKinds writes the table: how many events each kind had, and how many of them were lost, doubled and disordered.
func reportKinds(out io.Writer, rows []kindsRow) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "fault\tseed\ttook\t")
	for _, c := range columns() {
		fmt.Fprintf(w, "%s\t", c.name)
	}
	fmt.Fprintln(w)
	sums := map[string]*tally{}
	for _, c := range columns() {
		sums[c.name] = &tally{}
	}
	line := func(name, seed string, took time.Duration, tallies map[string]*tally) {
		fmt.Fprintf(w, "%s\t%s\t%s\t", name, seed, took.Round(100*time.Millisecond))
		for _, c := range columns() {
			t := tallies[c.name]
			fmt.Fprintf(w, "%d %d/%d/%d\t", t.in, t.lost, t.doubled, t.disorder)
		}
		fmt.Fprintln(w)
	}
	var took time.Duration
	for _, r := range rows {
		line(r.fault, fmt.Sprint(r.seed), r.took, r.tallies)
		took += r.took
		for name, t := range r.tallies {
			sums[name].in += t.in
			sums[name].lost += t.lost
			sums[name].doubled += t.doubled
			sums[name].disorder += t.disorder
		}
	}
	line(fmt.Sprintf("%d runs", len(rows)), "", took, sums)
	return w.Flush()
}
