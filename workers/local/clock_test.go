package local

import (
	"testing"
	"time"
)

// TestStreamClock: each moment has one stream time, whatever jumps come later; the clock stands almost still between them, and never goes back.
func TestStreamClock(t *testing.T) {
	wall := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newStreamClock(wall, start)
	first, second := wall.Add(time.Second), wall.Add(3*time.Second)
	before := c.at(first)
	if got := before.Sub(start); got != time.Second/clockPace {
		t.Errorf("a second of the wall clock is %s", got)
	}
	if !c.at(first.Add(clockPace * time.Nanosecond)).After(before) {
		t.Error("two moments have one time")
	}
	if got, want := c.jump(second, start.Add(5*time.Minute)), start.Add(5*time.Minute); !got.Equal(want) {
		t.Errorf("the clock was set to %s, want %s", got, want)
	}
	if got := c.at(first); !got.Equal(before) {
		t.Errorf("what was stored at %s is stored at %s now", before, got)
	}
	if got, want := c.at(second), start.Add(5*time.Minute); !got.Equal(want) {
		t.Errorf("at the jump it is %s, want %s", got, want)
	}
	if got := c.at(wall.Add(-time.Hour)); !got.Equal(start) {
		t.Errorf("before the beginning it is %s, want %s", got, start)
	}
	late := second.Add(time.Hour) // longer than the next jump, at this pace
	if got, want := c.jump(late, start.Add(5*time.Minute+time.Second)), c.at(late); got.Before(start.Add(5*time.Minute+10*time.Second)) || !got.Equal(want) {
		t.Errorf("the clock went back to %s", got)
	}
}
