package top

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace.dev/millrace/controllers/view"
)

func sampleReading() (*view.Graph, *view.Flow) {
	g := &view.Graph{
		Name: view.Name{Namespace: "default", Name: "shop"}, Revision: "r",
		Stages: []view.Stage{{Name: "check", Kind: "validate", Lanes: 1}, {Name: "enrich", Kind: "enrich", Lanes: 8}, {Name: "find", Kind: "correlate", Head: "enrich", Lanes: 8}},
		Edges: []view.Edge{
			{From: "ingress", To: "check", Stream: "RAW"},
			{From: "check", Port: "out", To: "enrich", Stream: "CHECKED"},
			{From: "check", Port: "dead-letter", Stream: "DEAD"},
			{From: "enrich", Port: "out", To: "find"},
		},
	}
	f := &view.Flow{
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), Graph: "r",
		Stages: []view.StageFlow{
			{Stage: "check", P50: new(view.Seconds(2500 * time.Microsecond)), P99: new(view.Seconds(80 * time.Millisecond)), Workers: new(1), Wanted: new(1), DeadLetters: new(0.5), Health: "ok"},
			{Stage: "enrich", Workers: new(0), Wanted: new(2), Health: "stuck", Why: "no worker runs, and 12,345 events \x1b[31m wait"},
			{Stage: "find", Health: "unknown"},
		},
		Edges: []view.EdgeFlow{
			{Events: new(1234.4), Lag: new(int64(0)), Bytes: new(uint64(5 << 20)), Messages: new(uint64(10)), PortMessages: new(uint64(10))},
			{Events: new(1000.0), Lag: new(int64(12345)), OldestAge: new(view.Seconds(95 * time.Second)), PortMessages: new(uint64(77))},
			{Events: new(0.5)},
			{},
		},
		Problems: []string{"read stream X: no answer"},
	}
	return g, f
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func TestScreen(t *testing.T) {
	s := newScreen(view.Name{Namespace: "default", Name: "shop"})
	if got := text(s.lines(80, 6)); !strings.Contains(got, "waiting for the first reading") {
		t.Errorf("before a reading:\n%s", got)
	}
	g, f := sampleReading()
	s.read(g, f)
	//nolint:dupword // a kind and a stage have one name
	want := `default/shop  03:04:05  1,234 events/s in  1 stuck, 1 unknown, 1 ok
! read stream X: no answer

STAGE   KIND        IN/S  OUT/S     LAG  OLDEST     P50      P99  WORKERS  DEAD/S  HEALTH
check   validate   1,234  1,000       0       -  2.5 ms  80.0 ms        1     0.5  ok
enrich  enrich     1,000      -  12,345  95.0 s       -        -      0/2       -  stuck
find    correlate      -      -       -       -       -        -        -       -  unknown


enrich: no worker runs, and 12,345 events \u001b[31m wait
↑↓ choose  Enter ports  t tap  s sort (graph)  r reverse  p pause  q quit
`
	if diff := cmp.Diff(want, text(s.lines(100, 11))); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}

	s.key("s")
	s.key("s")
	s.key("s") // lag
	if got := s.rows()[0].name; got != "enrich" {
		t.Errorf("by lag %s comes first", got)
	}
	s.key("r")
	if got := s.rows()[2].name; got != "enrich" {
		t.Errorf("by lag reversed %s comes last", got)
	}
	s.sort, s.reversed = 0, false

	s.key("j")
	s.key("j")
	s.key(keyEnter)
	//nolint:dupword // a kind and a stage have one name
	want = `default/shop  03:04:05  1,234 events/s in  1 stuck, 1 unknown, 1 ok
! read stream X: no answer

enrich  enrich  8 lanes  workers 0/2
stuck: no worker runs, and 12,345 events \u001b[31m wait
latency p50 -, p99 -; processed - events/s; dead letters -/s
lag █ 12,345

     PORT        STREAM       EVENTS/S     LAG  OLDEST  MESSAGES  BYTES  READ BY
in   check/out   CHECKED         1,000  12,345  95.0 s        77      -  enrich
out  enrich/out  (in memory)         -       -       -         -      -  find

Esc back  t tap  ↑↓ other stage  p pause  q quit
`
	if s.selected != "enrich" {
		s.selected = "enrich"
	}
	if diff := cmp.Diff(want, text(s.lines(100, 13))); diff != "" {
		t.Errorf("a stage (-want +got):\n%s", diff)
	}
	s.key(keyEsc)
	if s.drilled {
		t.Error("Esc does not lead back")
	}
	s.key("p")
	s.read(g, &view.Flow{})
	if s.flow != f || !strings.Contains(s.title(), "PAUSED") {
		t.Error("a reading came through a pause")
	}
	s.key(ctrlC)
	if !s.quit {
		t.Error("Ctrl-C does not end it")
	}
}

// TestTapOnTheScreen: the ports of the chosen stage in turn, the newest events at the bottom, whatever they hold.
func TestTapOnTheScreen(t *testing.T) {
	s := newScreen(view.Name{Namespace: "default", Name: "shop"})
	s.key("t") // there is no reading yet
	g, f := sampleReading()
	s.read(g, f)
	var ports []string
	for range 4 {
		s.key("t")
		ports = append(ports, s.tapped)
	}
	if diff := cmp.Diff([]string{"check/out", "check/dead-letter", "ingress", "check/out"}, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if got := text(s.lines(100, 9)); !strings.Contains(got, "waiting for events") || strings.Contains(got, "STAGE") {
		t.Errorf("before an event:\n%s", got)
	}
	s.seen = seen{count: 1200, skipped: 7}
	for i := range 200 {
		s.seen.events = append(s.seen.events, fmt.Sprint("event ", i))
	}
	want := `default/shop  03:04:05  1,234 events/s in  1 stuck, 1 unknown, 1 ok
! read stream X: no answer

check/out, as it is stored: 1,200 events, and 7 messages left out: they come faster than they can be shown
event 198
event 199

Esc back  t other port  ↑↓ other stage  p pause  q quit
`
	if diff := cmp.Diff(want, text(s.lines(120, 8))); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for _, size := range [][2]int{{10, 3}, {1, 1}, {300, 400}} {
		if lines := s.lines(size[0], size[1]); len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
	}
	s.seen = seen{problem: "no answer \x1b[2J"}
	if got := text(s.lines(100, 9)); !strings.Contains(got, `no answer \u001b[2J`) {
		t.Errorf("with a problem:\n%s", got)
	}
	s.key("j") // enrich reads check/out
	if s.selected != "enrich" || s.tapped != "check/out" {
		t.Errorf("the stage behind: port %s of %s", s.tapped, s.selected)
	}
	s.key("j") // find reads nothing that is stored
	if s.selected != "find" || s.tapped != "" {
		t.Errorf("a stage without ports: port %s of %s", s.tapped, s.selected)
	}
	s.key("k")
	s.key(keyEnter)
	s.key("t")
	s.key(keyEsc)
	if !s.drilled || s.tapped != "" {
		t.Error("Esc does not lead back to the ports")
	}
}

// TestScreenFitsAnySize: the keys are always seen, the chosen stage too, and no line is too long.
func TestScreenFitsAnySize(t *testing.T) {
	g, f := &view.Graph{}, &view.Flow{}
	for i := range 64 {
		name := fmt.Sprintf("stage-%d", i)
		g.Stages = append(g.Stages, view.Stage{Name: name, Kind: "enrich"})
		f.Stages = append(f.Stages, view.StageFlow{Stage: name, Health: "ok"})
	}
	s := newScreen(view.Name{Namespace: "default", Name: "large"})
	s.read(g, f)
	for _, size := range [][2]int{{10, 3}, {40, 10}, {100, 24}, {200, 100}} {
		for range 70 {
			s.key("j")
			lines := s.lines(size[0], size[1])
			if len(lines) != size[1] {
				t.Fatalf("%v: %d lines", size, len(lines))
			}
			seen := false
			for _, l := range lines {
				if n := len([]rune(l.text)); n > size[0] {
					t.Fatalf("%v: a line of %d columns: %s", size, n, l.text)
				}
				seen = seen || l.reverse
			}
			if !seen && size[1] > 6 {
				t.Fatalf("%v: %s is chosen and not seen:\n%s", size, s.selected, text(lines))
			}
		}
		s.key("g")
	}
	if s.selected != "stage-0" {
		t.Errorf("g chose %s", s.selected)
	}
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"2.5 ms": duration(0.0025), "450 ms": duration(0.45), "1.5 s": duration(1.5), "10 min": duration(600), "3 h": duration(10800), "-": duration(math.NaN()),
		"0": rate(0), "0.2": rate(0.2), "1,234,567": rate(1234567.2), "5.0 MiB": bytes(new(uint64(5 << 20))), "12 B": bytes(new(uint64(12))),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestKeysOf(t *testing.T) {
	got := keysOf("j\x1b[A\x1bOBq\x1b[6~")
	if diff := cmp.Diff([]string{"j", keyUp, keyDown, "q", "\x1b[6~"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
