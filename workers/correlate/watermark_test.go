package correlate

import (
	"strings"
	"testing"
	"time"

	"millrace.dev/millrace/workers/config"
	"millrace.dev/millrace/workers/event"
	"millrace.dev/millrace/workers/stage"
	"millrace.dev/millrace/workers/stage/state"
)

// TestClocksThatAreExpected: at the start, event time waits for a clock of each partition. Where lanes write to all partitions
// (Batch.Partition), it waits for each lane, and not for pairs that no lane writes.
func TestClocksThatAreExpected(t *testing.T) {
	const partitions = 8
	for name, c := range map[string]struct {
		messages []int // their partitions
		want     bool  // all clocks are known
	}{
		"partitions":                             {[]int{0, 1, 2, 3, 4, 5, 6, 7}, true},
		"partitions in any order":                {[]int{7, 2, 0, 4, 6, 1, 3, 5}, true},
		"a partition is missing":                 {[]int{0, 1, 2, 3, 4, 6, 7}, false},
		"no partition":                           {[]int{-1}, true},
		"no partition, then one of several":      {[]int{-1, 3}, false},
		"lanes that keep keys":                   {[]int{0, 9, 18, 27, 36, 45, 54, 63}, true},
		"lanes that keep keys in any order":      {[]int{63, 0, 18, 9, 54, 27, 45, 36}, true},
		"a lane that keeps keys is missing":      {[]int{0, 9, 18, 27, 45, 54, 63}, false},
		"one lane that writes to all partitions": {[]int{0, 8, 16, 24, 32, 40, 48, 56}, false},
		"all lanes, each to some partitions":     {[]int{0, 8, 16, 24, 33, 41, 58, 3, 12, 5, 14, 7}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, now := newTestWatermark(partitions), start
			see := func() {
				for i, p := range c.messages {
					w.message(&stage.Batch{Now: now, Partition: p}, &event.Event{Time: now.Add(time.Duration(i-100) * time.Second).UnixNano()})
				}
			}
			for _, when := range []string{"start", "pause"} {
				see()
				want := int64(noTime)
				if c.want {
					want = now.Add(-100 * time.Second).UnixNano()
				}
				if got := w.at(now.UnixNano()); got != want {
					t.Errorf("after the %s: %d, want %d", when, got, want)
				}
				if got := w.at(now.Add(time.Minute).UnixNano() + 1); got == noTime {
					t.Errorf("a minute after the %s, clocks are waited for", when)
				}
				w = restored(t, &w)
				now = now.Add(time.Hour)
			}
		})
	}
}

func newTestWatermark(partitions int) watermark {
	return newWatermark(int64(time.Minute), stage.Settings{Config: &config.StageConfig{Partitions: partitions}})
}

// restored returns another watermark that goes on with the state of w.
func restored(t *testing.T, w *watermark) watermark {
	t.Helper()
	next := newTestWatermark(w.partitions)
	kept, err := state.Write(nil, state.Format{}, func(sc *state.Codec) { (&graph{Codec: sc}).watermark(w) })
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Read(kept, state.Format{}, func(sc *state.Codec) { (&graph{Codec: sc}).watermark(&next) }); err != nil {
		t.Fatal(err)
	}
	return next
}

// TestClocksThatAreInNoOrder: a damaged state is refused, since the clock of a partition would not be found.
func TestClocksThatAreInNoOrder(t *testing.T) {
	w := newTestWatermark(8)
	w.inputs = [][]writer{{{{partition: 8}, {partition: 0}}}}
	kept, err := state.Write(nil, state.Format{}, func(sc *state.Codec) { (&graph{Codec: sc}).watermark(&w) })
	if err == nil {
		err = state.Read(kept, state.Format{}, func(sc *state.Codec) { (&graph{Codec: sc}).watermark(&w) })
	}
	if err == nil || !strings.Contains(err.Error(), "clocks of partitions in no order") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkWatermark is of 256 lanes that keep keys, and of 256 that repartition.
func BenchmarkWatermark(b *testing.B) {
	const partitions = 256
	for name, step := range map[string]int{"keep": partitions + 1, "repartition": 1} {
		b.Run(name, func(b *testing.B) {
			w, now := newTestWatermark(partitions), start.UnixNano()
			for p := 0; p < partitions*partitions; p += step {
				w.message(&stage.Batch{Now: start, Partition: p}, &event.Event{Time: now})
			}
			for b.Loop() {
				if w.at(now) != now {
					b.Fatal("a clock is waited for")
				}
			}
		})
	}
}
