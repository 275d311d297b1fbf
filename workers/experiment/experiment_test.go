package experiment

import (
	"fmt"
	"math"
	"strings"
	"testing"

	eventv1 "millrace.dev/millrace/api/event/v1"
	"millrace.dev/millrace/test/stagetest"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
)

// settings are those of a stage ab with these weights, as variants a, b and so on.
func settings(c config.Experiment, weights ...int) stage.Settings {
	outputs := map[string]config.Output{}
	for i, weight := range weights {
		name := string(rune('a' + i))
		outputs[name] = config.Output{Format: config.FormatFrame}
		c.Variants = append(c.Variants, config.ExperimentVariant{Name: name, Weight: weight})
	}
	if c.Mode == "" {
		c.Mode = config.ExperimentSplit
	}
	return stage.Settings{Config: &config.StageConfig{Kind: config.KindExperiment, Stage: "ab", Experiment: &c, Outputs: outputs}}
}

func made(t testing.TB, s stage.Settings) stage.Stage {
	t.Helper()
	x, err := NewFactory().New(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const keys = 20000

// assigned is the variant of each of many keys.
func assigned(t testing.TB, s stage.Settings) []string {
	t.Helper()
	var events []*eventv1.Event
	for i := range keys {
		events = append(events, &eventv1.Event{Id: fmt.Sprint(i), PartitionKey: fmt.Sprint("key-", i)})
	}
	b := stagetest.Batch(t, events...)
	if err := made(t, s).Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	names := s.Config.Ports()
	var all []string
	for i := range b.Events {
		d, port := b.Decision(i), ""
		for n := range d.Ports.Numbers {
			port += names[n]
		}
		if v, ok := b.Events[i].Attribute("experiment." + s.Config.Stage); !ok || v.Text() != port || d.Verdict != stage.Emit {
			t.Fatalf("key %d: %s to %q, and its attribute says %q", i, d.Verdict, port, v.Text())
		}
		all = append(all, port)
	}
	return all
}

// near fails unless a count is within five standard deviations of its share of the keys.
func near(t testing.TB, what string, got int, share float64) {
	t.Helper()
	if d := float64(got) - share*keys; math.Abs(d) > 5*math.Sqrt(share*(1-share)*keys) {
		t.Errorf("%s: %d of %d keys, want about %.0f", what, got, keys, share*keys)
	}
}

func count(of []string, name string) (n int) {
	for _, v := range of {
		if v == name {
			n++
		}
	}
	return n
}

// TestSplit: shares follow the weights, and a change of weights moves the difference of keys and no others.
func TestSplit(t *testing.T) {
	before, again, after := assigned(t, settings(config.Experiment{}, 90, 10)), assigned(t, settings(config.Experiment{}, 9, 1)), assigned(t, settings(config.Experiment{}, 80, 20))
	near(t, "b at 10 %", count(before, "b"), 0.1)
	near(t, "b at 20 %", count(after, "b"), 0.2)
	moved := 0
	for i := range before {
		if before[i] != again[i] {
			t.Fatalf("key %d moved, and the weights are the same", i)
		}
		if before[i] != after[i] {
			moved++
			if before[i] != "a" {
				t.Fatalf("key %d moved from %s to %s: b only grew", i, before[i], after[i])
			}
		}
	}
	near(t, "moved by 90/10 -> 80/20", moved, 0.1)

	three, more := assigned(t, settings(config.Experiment{}, 50, 30, 20)), assigned(t, settings(config.Experiment{}, 50, 30, 40))
	near(t, "a of three", count(three, "a"), 0.5)
	near(t, "b of three", count(three, "b"), 0.3)
	for i := range three {
		if three[i] != more[i] && more[i] != "c" {
			t.Fatalf("key %d moved from %s to %s: only c grew", i, three[i], more[i])
		}
	}
	if none := assigned(t, settings(config.Experiment{}, 50, 0, 50)); count(none, "b") > 0 {
		t.Error("a variant of weight 0 has keys")
	}
	// Another experiment on the same keys is independent, and so is the partition of a key.
	other := settings(config.Experiment{}, 50, 50)
	other.Config.Stage = "other"
	first, second := assigned(t, settings(config.Experiment{}, 50, 50)), assigned(t, other)
	both, inPartition := 0, 0
	for i := range first {
		if first[i] == "a" && second[i] == "a" {
			both++
		}
		if first[i] == "a" && event.Partition(fmt.Sprint("key-", i), 4) == 0 {
			inPartition++
		}
	}
	near(t, "a of both experiments", both, 0.25)
	near(t, "a in one of four partitions", inPartition, 0.125)
}

func TestKey(t *testing.T) {
	s := settings(config.Experiment{Key: "event.attributes['user']"}, 1, 1)
	user := []*eventv1.KeyValue{{Key: "user", Value: &eventv1.KeyValue_StringValue{StringValue: "ann"}}}
	var events []*eventv1.Event
	for i := range 50 {
		events = append(events, &eventv1.Event{Id: fmt.Sprint(i), PartitionKey: fmt.Sprint(i), Attributes: user})
	}
	b := stagetest.Batch(t, append(events, &eventv1.Event{Id: "none"})...)
	if err := made(t, s).Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if b.Decision(i).Ports != b.Decision(0).Ports {
			t.Fatal("events of one user are in two variants")
		}
	}
	if d := b.Decision(50); d.Verdict != stage.DeadLetter || d.Reason != "key_error" || d.Err.Error() != "experiment.key: expression event.attributes['user']: no such key: user" {
		t.Errorf("an event without a key: %s %s %v", d.Verdict, d.Reason, d.Err)
	}
}

// TestMirror: every event goes to all variants that have a weight, as it came.
func TestMirror(t *testing.T) {
	s := settings(config.Experiment{Mode: config.ExperimentMirror}, 1, 0, 5)
	b := stagetest.Batch(t, &eventv1.Event{Id: "1"})
	if err := made(t, s).Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	a, _ := s.Port("a")
	c, _ := s.Port("c")
	if d := b.Decision(0); d.Verdict != stage.Emit || d.Ports != a|c {
		t.Errorf("got %s to %s", d.Verdict, d.Ports)
	}
	if _, ok := b.Events[0].Attribute("experiment.ab"); ok {
		t.Error("the event has a variant, and it goes to all")
	}
}

func TestReload(t *testing.T) {
	s := settings(config.Experiment{}, 1, 0)
	next := settings(config.Experiment{}, 0, 1)
	x, err := made(t, s).(stage.Reloader).Reload(next.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := stagetest.Batch(t, &eventv1.Event{Id: "1"})
	if err := x.Process(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if want, _ := next.Port("b"); b.Decision(0).Ports != want {
		t.Errorf("after a change of the weights the event goes to %s", b.Decision(0).Ports)
	}
}

func TestRefused(t *testing.T) {
	for want, s := range map[string]stage.Settings{
		`experiment.mode: is "Both", must be Split or Mirror`: settings(config.Experiment{Mode: "Both"}, 1),
		"experiment.key: ":                                            settings(config.Experiment{Key: "event.severity"}, 1),
		"experiment.variants: all weights are 0":                      settings(config.Experiment{}, 0, 0),
		"experiment.variants[0].weight: is -1, must be 0 to 1000000":  settings(config.Experiment{}, -1),
		"experiment.variants[0].weight: is 1000001, must be 0 to 100": settings(config.Experiment{}, 1_000_001),
		`experiment.variants[0].name: the stage has no port "x"`:      settings(config.Experiment{Variants: []config.ExperimentVariant{{Name: "x", Weight: 1}}}),
	} {
		if _, err := NewFactory().New(s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewFactory().New(stage.Settings{Config: &config.StageConfig{}}); err == nil {
		t.Error("a config without experiment is taken")
	}
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]config.Experiment{"split": {Key: "event.source + event.type"}, "mirror": {Mode: config.ExperimentMirror}} {
		t.Run(name, func(t *testing.T) {
			s := settings(c, 3, 1, 1)
			stagetest.Run(t, stagetest.Suite{Factory: NewFactory(), Config: *s.Config})
		})
	}
}

// BenchmarkProcess: one operation is one event.
func BenchmarkProcess(b *testing.B) {
	const size = 500
	var events []*eventv1.Event
	for i := range size {
		events = append(events, &eventv1.Event{Id: fmt.Sprint(i), PartitionKey: fmt.Sprint(i), Type: "http.request", Body: "GET /"})
	}
	fresh, work := stagetest.Batch(b, events...), &stage.Batch{}
	x := made(b, settings(config.Experiment{}, 90, 10))
	b.ReportAllocs()
	for n := 0; n < b.N; n += size {
		work.Events = append(work.Events[:0], fresh.Events...)
		work.Reset(1)
		if err := x.Process(b.Context(), work); err != nil {
			b.Fatal(err)
		}
	}
}
