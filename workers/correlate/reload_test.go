package correlate

import (
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
)

// TestReload: from how many events a group is reported changes for windows that are open.
func TestReload(t *testing.T) {
	with := func(minEvents int) *config.StageConfig {
		return &config.StageConfig{Correlate: &config.Correlate{Window: &config.CorrelateWindow{MinEvents: minEvents, MaxEvents: 10}}}
	}
	s := newStage(t, *with(3).Correlate)
	for _, after := range []time.Duration{0, time.Millisecond} {
		if err := s.Process(t.Context(), batch(t, on(after, "k8s.pod.restarted", podA))); err != nil {
			t.Fatal(err)
		}
	}
	next, err := s.Reload(with(2))
	if err != nil {
		t.Fatal(err)
	}
	if got := process(t, next.(*correlator)).groups; len(got) != 1 {
		t.Errorf("%d groups of the two events before the change, want 1", len(got))
	}
	const want = "correlate.window.minEvents: is 11, more than maxEvents (10)"
	if _, err := s.Reload(with(11)); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestReloadKeepsTheState: with the same config again and again, a stage decides as if nothing had happened.
func TestReloadKeepsTheState(t *testing.T) {
	messages := replay.Story(t, generator.Options{Seed: 1, Events: 6000, End: start}, 30*time.Second)
	c := config.Correlate{Realtime: &config.CorrelateRealtime{MaxEntities: 200}, Window: &config.CorrelateWindow{MinEvents: 2}}
	want := replay.New(t, newStage(t, c)).Run(messages)
	got := replay.New(t, newStage(t, c)).RunReloading(messages, 7, &config.StageConfig{Correlate: &c})
	if d := replay.Diff(want, got, 0); d != "" {
		t.Error(d)
	}
}
