package validate

import (
	"math/rand/v2"
	"testing"
	"time"

	"millrace.dev/millrace/test/generator"
	"millrace.dev/millrace/test/replay"
	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/stage"
)

// TestReplay drops instances and rebuilds them: from there on they decide as if nothing had
// happened.
func TestReplay(t *testing.T) {
	messages := replay.Story(t, generator.Options{Seed: 1, Events: 6000, Duplicates: 2000, Invalid: 100, End: noon}, 30*time.Second)
	for name, dedupe := range map[string]config.Dedupe{
		"window":           {Window: config.Duration(time.Minute)},
		"shorter window":   {Window: config.Duration(1500 * time.Millisecond)}, // second copies come up to 2 s later
		"not enough room":  {Window: config.Duration(time.Minute), MaxEntries: 300},
		"room for a dozen": {Window: config.Duration(2 * time.Second), MaxEntries: 12},
	} {
		t.Run(name, func(t *testing.T) {
			made := func() stage.Stage {
				return newStage(t, config.Validate{
					RequiredAttributes: []string{"id", "source", "type"}, MaxFuture: config.Duration(time.Second), MaxAge: config.Duration(20 * time.Second),
					Rules:  []config.Rule{{Expression: "event.attributes.all(k, k != 'x') && event.severity < 24"}},
					Dedupe: &dedupe,
				})
			}
			want := replay.New(t, made()).Run(messages)
			if d := replay.Diff(want, replay.New(t, made()).Run(messages), 0); d != "" {
				t.Fatalf("the same input again: %s", d)
			}
			r := rand.New(rand.NewPCG(7, 7))
			for range 10 {
				at := 1 + r.IntN(len(messages)-1)
				end := min(at+200, len(messages)) // two minutes
				got := replay.Rebuild(t, made(), messages, at, want).Run(messages[at:end])
				if d := replay.Diff(want[at:end], got, at); d != "" {
					t.Errorf("rebuilt before message %d: %s", at, d)
				}
			}
		})
	}
}

// TestReplayAcrossSetClocks has some messages stored by a server whose clock is ahead. Whoever is
// rebuilt behind them decides as the one who saw them.
func TestReplayAcrossSetClocks(t *testing.T) {
	const first, last = 150, 170
	for name, ahead := range map[string]time.Duration{
		"milliseconds": 300 * time.Millisecond, "the second of the horizon": time.Second, "seconds": 3 * time.Second, "an hour": time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			messages := replay.Story(t, generator.Options{Seed: 1, Events: 6000, Duplicates: 2000, End: noon}, 30*time.Second)
			for i := first; i < last; i++ {
				messages[i].Stored = messages[i].Stored.Add(ahead)
			}
			// Second copies come up to 2 s later: some within the window, some behind it.
			made := func() stage.Stage {
				return newStage(t, config.Validate{Dedupe: &config.Dedupe{Window: config.Duration(1500 * time.Millisecond)}})
			}
			want := replay.New(t, made()).Run(messages)
			for at := first + 1; at < last+100; at++ {
				end := min(at+100, len(messages))
				if d := replay.Diff(want[at:end], replay.Rebuild(t, made(), messages, at, want).Run(messages[at:end]), at); d != "" {
					t.Fatalf("rebuilt before message %d: %s", at, d)
				}
			}
		})
	}
}
